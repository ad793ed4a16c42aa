"""Rules that an organisation may want kept by every Module, beyond what `checks` warns of. Pure.

The policy pack in `policy/` reports them to Pulumi. A rule says nothing about a Module that keeps it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from kmm.checks import Finding, is_latest, named_images
from kmm.definition import Module
from kmm.images import ImageReference
from kmm.kernel import VARIABLES, expand
from kmm.names import PRIVILEGED_DEVICE_PLUGIN_ANNOTATION, label_value
from kmm.problems import FieldPath

_DEVICE_PLUGIN: Final = ("spec", "devicePlugin")
_ALLOWED: Final = "allowed"
_ANY_KERNEL: Final = "kernel-full-version"  # stands for every kernel; no tag is like it by chance


def movable_images(module: Module) -> Iterator[Finding]:
    """Images that may be others tomorrow: neither by digest, nor by a tag that says for which kernel they are.

    A device plugin's has no kernel; it needs a digest or a tag other than latest.
    """
    for path, image in named_images(module):
        if path[: len(_DEVICE_PLUGIN)] == _DEVICE_PLUGIN:
            if is_latest(image):
                yield Finding(path, f"{image} is the tag latest; name a version, or a digest (NAME@sha256:…)")
        elif not _is_of_one_kernel(image, _literal(module, path)):
            message = f"{image} has neither the kernel's version in its tag (${{KERNEL_FULL_VERSION}}) nor a digest"
            yield Finding(path, message)


def foreign_images(module: Module, registries: Iterable[str]) -> Iterator[Finding]:
    """Images from elsewhere than `registries`: hosts, or hosts with the beginning of a repository's path."""
    allowed = tuple(registries)
    for path, image in named_images(module):
        if not is_from(expand(image, dict.fromkeys(VARIABLES, "0")), allowed):
            yield Finding(path, f"{image} is not from {' or '.join(allowed)}")


def unapproved_device_plugins(module: Module) -> Iterator[Finding]:
    """A device plugin, whose container always is privileged, that nobody has approved by the Module's annotation."""
    approval = module.metadata.annotations.get(PRIVILEGED_DEVICE_PLUGIN_ANNOTATION)
    if module.spec.device_plugin is not None and approval != _ALLOWED:
        message = f"runs privileged; if that is meant, annotate the Module {PRIVILEGED_DEVICE_PLUGIN_ANNOTATION}"
        given = f" (not {approval!r})" if approval is not None else ""
        yield Finding(_DEVICE_PLUGIN, f"{message}: {_ALLOWED}{given}")


def is_from(image: str, registries: Iterable[str]) -> bool:
    """Whether the image lies in one of `registries`, such as `docker.io` or `registry.example.com/kmods`."""
    reference = ImageReference.parse(image)
    path = f"{reference.registry}/{reference.repository}/"
    return any(path.startswith(f"{registry.rstrip('/')}/") for registry in registries)


def _literal(module: Module, path: FieldPath) -> str | None:
    """The one kernel of the mapping that `path` is in, None where there may be more."""
    index = next((step for step in path if isinstance(step, int)), None)
    mappings = module.spec.module_loader.container.kernel_mappings
    return None if index is None else mappings[index].literal


def _is_of_one_kernel(image: str, literal: str | None) -> bool:
    kernel = label_value(literal) if literal else _ANY_KERNEL
    variables = dict.fromkeys(VARIABLES, "0") | {"KERNEL_FULL_VERSION": kernel, "KERNEL_VERSION": kernel}
    reference = ImageReference.parse(expand(image, variables))
    return reference.digest is not None or kernel in (reference.tag or "")
