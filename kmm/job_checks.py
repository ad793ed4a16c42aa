"""What would let a build or sign Job wait for nothing, or surprise its user, and can be seen before. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kmm.checks import image_path
from kmm.definition import Toleration
from kmm.jobs import Builder, JobSettings, PodSettings
from kmm.manifests.job import JobType, node_selector, tolerations
from kmm.mapping import ResolvedKernel
from kmm.nodes import Node, selected, untolerated_taint
from kmm.plan import Action, Plan
from kmm.problems import field_name

_JOB_TYPES: Final = {Action.BUILD: JobType.BUILD, Action.SIGN: JobType.SIGN}
_SHOWN: Final = 5  # kernels in one message


class SettingWarning(NamedTuple):
    """What works and is yet probably not what was meant; `field` is a setting, or a Module and its field."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def job_problems(plan: Plan, settings: JobSettings, nodes: Sequence[Node]) -> tuple[str, ...]:
    """A problem for each Job that cannot run: no signer is known, or no node takes it."""
    return (*_signer_problems(plan, settings), *_placement_problems(plan, settings, nodes))


def job_warnings(plan: Plan, settings: JobSettings) -> tuple[SettingWarning, ...]:
    """What to look at in the settings of the plan's Jobs, each once."""
    builds = [resolved for resolved, job_type in _jobs(plan) if job_type is JobType.BUILD]
    return tuple(dict.fromkeys([*_builder_warnings(builds, settings.builder), *shared_images(plan)]))


def shared_images(plan: Plan) -> Iterator[SettingWarning]:
    """Images that the Jobs of several kernels of a Module would make, each with the module of its own kernel."""
    makers: dict[tuple[str, str], dict[str, ResolvedKernel]] = defaultdict(dict)
    for resolved, _ in _jobs(plan):
        makers[resolved.module.key, resolved.image][resolved.kernel] = resolved
    for (module, image), kernels in makers.items():
        if len(kernels) > 1:
            first, *_ = kernels.values()
            path = image_path(first.module.spec.module_loader.container, first.mapping)
            yield SettingWarning(
                f"{module}: {field_name(path)}",
                f"{image} is made by the Jobs of kernel {_listed([*kernels])}: whichever ends last decides whose module"
                " it holds. Put ${KERNEL_FULL_VERSION} into its tag",
            )


def _builder_warnings(builds: Sequence[ResolvedKernel], builder: Builder) -> Iterator[SettingWarning]:
    if builds and builder is Builder.KANIKO:
        message = "kaniko gets no fixes any more: its authors archived it in June 2025. Use buildah or buildkit"
        yield SettingWarning("kmm:builder", message)
    for resolved in builds:
        if builder is not Builder.KANIKO and resolved.build and resolved.build.kaniko_params:
            message = f"is for kaniko only, and kmm:builder is {builder}: name the image in kmm:build.image instead"
            yield SettingWarning(f"{resolved.module.key}: build.kanikoParams", message)


def _jobs(plan: Plan) -> Iterator[tuple[ResolvedKernel, JobType]]:
    for module in plan.modules:
        for kernel in (*module.kernels, *module.future):
            for action in kernel.actions:
                if kernel.resolved is not None and action in _JOB_TYPES:
                    yield kernel.resolved, _JOB_TYPES[action]


def _signer_problems(plan: Plan, settings: JobSettings) -> Iterator[str]:
    signed = [resolved for resolved, job_type in _jobs(plan) if job_type is JobType.SIGN]
    if signed and settings.sign.image is None:
        modules = ", ".join(sorted({resolved.module.key for resolved in signed}))
        yield (
            f"kmm:sign.image is not set, and {modules} need a sign Job. Build the signer and push it to a registry of"
            " yours (loader-image/README.md), then: pulumi config set --path 'kmm:sign.image' IMAGE"
        )


def _placement_problems(plan: Plan, settings: JobSettings, nodes: Sequence[Node]) -> Iterator[str]:
    kernels: dict[_Placement, list[str]] = defaultdict(list)
    for resolved, job_type in _jobs(plan):
        kernels[_placement(resolved, job_type, settings)].append(resolved.kernel)
    for placement, versions in kernels.items():
        problem = _placement_problem(placement, nodes)
        if problem:
            yield (
                f"{placement.module}: no node can take the {placement.job_type} Job of kernel"
                f" {_listed(versions)}: {problem}"
            )


def _listed(versions: Sequence[str]) -> str:
    more = f" and {len(versions) - _SHOWN} more" if len(versions) > _SHOWN else ""
    return f"{', '.join(versions[:_SHOWN])}{more}"


class _Placement(NamedTuple):
    """Where Jobs of a Module may run; `selector_fields` are what decides which labels that takes."""

    module: str
    job_type: JobType
    selector_fields: tuple[str, ...]
    selector: tuple[tuple[str, str], ...]
    tolerations: tuple[Toleration, ...]


def _placement(resolved: ResolvedKernel, job_type: JobType, settings: JobSettings) -> _Placement:
    pod = settings.build if job_type is JobType.BUILD else settings.sign
    return _Placement(
        resolved.module.key,
        job_type,
        _selector_fields(resolved, job_type, pod),
        tuple(node_selector(resolved, pod).items()),
        tolerations(resolved.module, pod),
    )


def _selector_fields(resolved: ResolvedKernel, job_type: JobType, pod: PodSettings) -> tuple[str, ...]:
    setting = f"kmm:{job_type}.nodeSelector"
    if resolved.build and resolved.build.selector:
        return "build.selector", setting
    return (setting,) if pod.node_selector else ("spec.selector", setting)


def _placement_problem(placement: _Placement, nodes: Sequence[Node]) -> str | None:
    chosen = [node for node in nodes if selected(node, dict(placement.selector))]
    setting = f"kmm:{placement.job_type}"
    if not chosen:
        labels = ", ".join(f"{key}={value}" for key, value in placement.selector)
        return f"none has the labels {labels}. Change {' or '.join(placement.selector_fields)}"
    taints = {node.name: untolerated_taint(node, placement.tolerations) for node in chosen}
    if None in taints.values():
        return None
    name, taint = min(taints.items())
    return (
        f"{len(chosen)} have its labels, and each a taint that it does not tolerate, such as {taint} on {name}."
        f" Free a node of it, or add it to spec.tolerations or {setting}.tolerations"
    )
