"""The ConfigMaps and Secrets that the Jobs of a plan need; a pod without one waits out its time limit. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from kmm.definition import Build, KernelMapping, LocalObjectReference, ModuleLoaderContainer, Sign
from kmm.manifests.build import DOCKERFILE_KEYS
from kmm.manifests.job import REGISTRY_LOGIN_KEY
from kmm.manifests.sign import SIGNING_CERTIFICATE, SIGNING_KEY
from kmm.mapping import ResolvedKernel
from kmm.plan import Action, Plan
from kmm.problems import FieldPath, field_name

_CONTAINER: Final = ("spec", "moduleLoader", "container")


class ObjectKind(StrEnum):
    """Kind of an object that Jobs mount."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105 (the API's word)


class ObjectKey(NamedTuple):
    """Which object."""

    kind: ObjectKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class JobInput(NamedTuple):
    """An object that a Job mounts, and one of whose `keys` it needs (any content, when none are named).

    `field` of `module` names it; `command` makes it.
    """

    object: ObjectKey
    keys: tuple[str, ...]
    module: str
    field: str
    command: str


def job_inputs(plan: Plan) -> tuple[JobInput, ...]:
    """What the Jobs of the plan need, each once, sorted."""
    found = {
        one
        for module in plan.modules
        for kernel in (*module.kernels, *module.future)
        if kernel.resolved is not None
        for one in _kernel_inputs(kernel.resolved, kernel.actions)
    }
    return tuple(sorted(found))


def missing_inputs(inputs: Iterable[JobInput], found: Mapping[ObjectKey, frozenset[str] | None]) -> tuple[str, ...]:
    """A problem for each input that is not there, or not with its key.

    `found` has, for every input's object, the keys of its `data`, or None when the object does not exist.
    """
    problems = ((one, _problem(one, found[one.object])) for one in inputs)
    return tuple(f"{one.module}: {one.field}: {problem}" for one, problem in problems if problem)


def _problem(wanted: JobInput, keys: frozenset[str] | None) -> str | None:
    if keys is None:
        return f"{wanted.object} does not exist. Make it: {wanted.command}"
    if wanted.keys and keys.isdisjoint(wanted.keys):
        has = ", ".join(sorted(keys)) or "nothing"
        return f"{wanted.object} has no key {' or '.join(wanted.keys)}, only {has}. Make it anew: {wanted.command}"
    return None


def _kernel_inputs(resolved: ResolvedKernel, actions: Sequence[Action]) -> Iterator[JobInput]:
    builds, signs = Action.BUILD in actions and resolved.build, Action.SIGN in actions and resolved.sign
    if builds:
        yield from _build_inputs(resolved, builds)
    if signs:
        yield from _sign_inputs(resolved, signs)
    login = resolved.module.spec.image_repo_secret
    if login is not None and (builds or signs):
        options = "docker-registry {} --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD"
        yield _secret(resolved, login, ("spec", "imageRepoSecret"), options, REGISTRY_LOGIN_KEY)


def _build_inputs(resolved: ResolvedKernel, build: Build) -> Iterator[JobInput]:
    mapping, container, place = _declarations(resolved)
    own = (*place, "build") if mapping.build else (*_CONTAINER, "build")
    namespace = resolved.module.metadata.namespace
    name = build.dockerfile_config_map.name
    yield JobInput(
        ObjectKey(ObjectKind.CONFIG_MAP, namespace, name),
        DOCKERFILE_KEYS,
        resolved.module.key,
        field_name((*own, "dockerfileConfigMap")),
        f"kubectl -n {namespace} create configmap {name} --from-file=dockerfile=PATH",
    )
    for path, declared in (((*place, "build"), mapping.build), ((*_CONTAINER, "build"), container.build)):
        for index, secret in enumerate(declared.secrets if declared else ()):
            yield _secret(resolved, secret, (*path, "secrets", index), "generic {} --from-file=PATH")


def _sign_inputs(resolved: ResolvedKernel, sign: Sign) -> Iterator[JobInput]:
    mapping, _, place = _declarations(resolved)
    own = (*place, "sign") if mapping.sign else (*_CONTAINER, "sign")
    for secret, field, key in (
        (sign.key_secret, "keySecret", SIGNING_KEY),
        (sign.cert_secret, "certSecret", SIGNING_CERTIFICATE),
    ):
        yield _secret(resolved, secret, (*own, field), f"generic {{}} --from-file={key}=PATH", key)


def _declarations(resolved: ResolvedKernel) -> tuple[KernelMapping, ModuleLoaderContainer, FieldPath]:
    """The mapping, the container that has its defaults, and the place of the mapping."""
    container = resolved.module.spec.module_loader.container
    return container.kernel_mappings[resolved.mapping], container, (*_CONTAINER, "kernelMappings", resolved.mapping)


def _secret(
    resolved: ResolvedKernel, secret: LocalObjectReference, path: FieldPath, command: str, *keys: str
) -> JobInput:
    namespace = resolved.module.metadata.namespace
    return JobInput(
        ObjectKey(ObjectKind.SECRET, namespace, secret.name),
        keys,
        resolved.module.key,
        field_name(path),
        f"kubectl -n {namespace} create secret {command.format(secret.name)}",
    )
