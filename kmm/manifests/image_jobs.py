"""The Jobs that make the images of a Module, and what they build from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from kmm.errors import PlanError
from kmm.jobs import JobSettings
from kmm.manifests.build import BuildManifests, build_manifests
from kmm.manifests.build_context import BuildContext
from kmm.manifests.common import Manifest
from kmm.manifests.sign import sign_manifest
from kmm.mapping import ResolvedKernel
from kmm.plan import Action, KernelPlan, ModulePlan

BuildContexts = Mapping[tuple[str, str], BuildContext]  # by namespace and name of the ConfigMap


@dataclass(frozen=True)
class JobInputs:
    """What Jobs are made of besides the plan: settings, and the content of each ConfigMap that a build names."""

    settings: JobSettings
    contexts: BuildContexts


@dataclass(frozen=True)
class ImageJobs:
    """Jobs by kernel version, those of a kernel one after the other; several may build from one of `contexts`."""

    contexts: tuple[Manifest, ...] = ()
    by_kernel: Mapping[str, tuple[Manifest, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Manifest]:
        yield from self.contexts
        yield from chain.from_iterable(self.by_kernel.values())


def image_jobs(plan: ModulePlan, inputs: JobInputs) -> ImageJobs:
    """The Jobs for the kernels whose image is to be made. Raises PlanError for one that cannot be."""
    contexts: dict[str, Manifest] = {}
    by_kernel = {}
    for kernel in plan.kernels:
        if kernel.resolved is None:
            continue
        jobs = []
        if build := _build(kernel, kernel.resolved, inputs):
            contexts[build.context["metadata"]["name"]] = build.context
            jobs.append(build.job)
        if sign := _sign(kernel, kernel.resolved, inputs.settings):
            jobs.append(sign)
        if jobs:
            by_kernel[kernel.version] = tuple(jobs)
    return ImageJobs(tuple(contexts.values()), by_kernel)


def _build(kernel: KernelPlan, resolved: ResolvedKernel, inputs: JobInputs) -> BuildManifests | None:
    if Action.BUILD not in kernel.actions or resolved.build is None:
        return None
    config_map = (resolved.module.metadata.namespace, resolved.build.dockerfile_config_map.name)
    if config_map not in inputs.contexts:
        raise PlanError(
            f"{resolved.module.key}: kernel {kernel.version} is built from ConfigMap {'/'.join(config_map)},"
            " which was not read"
        )
    return build_manifests(resolved, resolved.build, inputs.contexts[config_map], inputs.settings)


def _sign(kernel: KernelPlan, resolved: ResolvedKernel, settings: JobSettings) -> Manifest | None:
    if Action.SIGN not in kernel.actions or resolved.sign is None:
        return None
    return sign_manifest(resolved, resolved.sign, settings.sign)
