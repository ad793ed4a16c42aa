"""Warnings about a valid Module: what is allowed, works, and is yet probably not what was meant.

A warning is given only where it is certain: whether one regular expression takes all that another does is
decided only for simple ones.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from kmm.definition import Build, KernelMapping, Module, Sign, TLSOptions
from kmm.definition.formats import compile_regexp
from kmm.images import ImageReference
from kmm.kernel import VARIABLES, expand, referenced_variables, trim_kernel_version
from kmm.problems import FieldPath

_CONTAINER: Final = ("spec", "moduleLoader", "container")
_TAKES_ALL: Final = re.compile(r"\^?\.[*+]\$?")
_FORM_FEED: Final = re.compile(r"(?<!\\)(?:\\\\)*\\f")
_LITERAL_KERNEL: Final = compile_regexp(r"^\d+(?:\\?\.\d+)+(?:\\?[-.+_~]|[A-Za-z0-9])*$")


class Finding(NamedTuple):
    """A warning and the place it is about."""

    path: FieldPath
    message: str


def warnings(module: Module) -> Iterator[Finding]:
    """Everything about `module` that a user should look at."""
    yield from _mapping_warnings(module)
    yield from _image_warnings(module)
    yield from insecure_registries(module)
    yield from _sign_warnings(module)


def _mapping_path(index: int) -> FieldPath:
    return (*_CONTAINER, "kernelMappings", index)


def _mapping_warnings(module: Module) -> Iterator[Finding]:
    mappings = module.spec.module_loader.container.kernel_mappings
    for index, mapping in enumerate(mappings):
        path = _mapping_path(index)
        if mapping.literal is not None and trim_kernel_version(mapping.literal) != mapping.literal:
            yield Finding((*path, "literal"), "never matches: kernel versions are compared without their trailing '+'")
        if mapping.regexp is not None:
            yield from (Finding((*path, "regexp"), message) for message in _regexp_warnings(mapping.regexp))
        for earlier in range(index):
            if _takes_all_of(mappings[earlier], mapping):
                yield Finding(path, f"never matches: kernelMappings[{earlier}] takes all its kernels")
                break


def _regexp_warnings(regexp: str) -> Iterator[str]:
    if _FORM_FEED.search(regexp):
        yield r"\f means a form feed, which no kernel version has, so this can't match; write f for the letter"
    if _LITERAL_KERNEL.search(regexp):
        exact = re.sub(r"\\?([.+])", r"\\\1", regexp)
        yield f"finds kernels that only contain this; write literal, or '^{exact}$'"
    elif regexp[:1].isdigit():
        yield f"is not anchored: it finds {regexp[:1]}... anywhere in a kernel version; write '^{regexp}'"


def _takes_all_of(earlier: KernelMapping, later: KernelMapping) -> bool:
    if earlier.regexp is None:
        return earlier.literal == later.literal
    if later.literal is not None:
        return compile_regexp(earlier.regexp).search(later.literal) is not None
    return earlier.regexp == later.regexp or _TAKES_ALL.fullmatch(earlier.regexp) is not None


def _image_warnings(module: Module) -> Iterator[Finding]:
    container = module.spec.module_loader.container
    for index, mapping in enumerate(container.kernel_mappings):
        if mapping.regexp is not None and not _is_one_kernel(mapping.regexp):
            yield from _shared_image(index, mapping.container_image or container.container_image or "")
    for path, image in named_images(module):
        if is_latest(image):
            yield Finding(path, f"{image} is the tag latest, which may mean another image tomorrow; name a version")


def named_images(module: Module) -> Iterator[tuple[FieldPath, str]]:
    """Each image that `module` names, as it is written, with variables, and the field that names it."""
    container = module.spec.module_loader.container
    images: dict[FieldPath, str | None] = {(*_CONTAINER, "containerImage"): container.container_image}
    for index, mapping in enumerate(container.kernel_mappings):
        images[(*_mapping_path(index), "containerImage")] = mapping.container_image
    images |= {(*path, "unsignedImage"): sign.unsigned_image for path, sign in _signs(module)}
    if module.spec.device_plugin is not None:
        images["spec", "devicePlugin", "container", "image"] = module.spec.device_plugin.container.image
    return ((path, image) for path, image in images.items() if image is not None)


def _is_one_kernel(regexp: str) -> bool:
    return regexp.startswith("^") and regexp.endswith("$") and _LITERAL_KERNEL.search(regexp[1:-1]) is not None


def _shared_image(index: int, image: str) -> Iterator[Finding]:
    if not any(name.startswith("KERNEL_") for name in referenced_variables(image)):
        message = f"{image} is the same for every kernel that matches; put ${{KERNEL_FULL_VERSION}} into its tag"
        yield Finding((*_mapping_path(index), "containerImage"), message)


def is_latest(image: str) -> bool:
    """Whether the image is by the tag latest, written or implied; `image` may hold variables."""
    reference = ImageReference.parse(expand(image, dict.fromkeys(VARIABLES, "0")))
    return reference.tag == "latest" and reference.digest is None


def _builds(module: Module) -> Iterator[tuple[FieldPath, Build]]:
    container = module.spec.module_loader.container
    if container.build is not None:
        yield (*_CONTAINER, "build"), container.build
    for index, mapping in enumerate(container.kernel_mappings):
        if mapping.build is not None:
            yield (*_mapping_path(index), "build"), mapping.build


def _signs(module: Module) -> Iterator[tuple[FieldPath, Sign]]:
    container = module.spec.module_loader.container
    if container.sign is not None:
        yield (*_CONTAINER, "sign"), container.sign
    for index, mapping in enumerate(container.kernel_mappings):
        if mapping.sign is not None:
            yield (*_mapping_path(index), "sign"), mapping.sign


def _tls_options(module: Module) -> Iterator[tuple[FieldPath, TLSOptions | None]]:
    container = module.spec.module_loader.container
    yield (*_CONTAINER, "registryTLS"), container.registry_tls
    for index, mapping in enumerate(container.kernel_mappings):
        yield (*_mapping_path(index), "registryTLS"), mapping.registry_tls
    for path, build in _builds(module):
        yield (*path, "baseImageRegistryTLS"), build.base_image_registry_tls
    for path, sign in _signs(module):
        yield (*path, "unsignedImageRegistryTLS"), sign.unsigned_image_registry_tls


def insecure_registries(module: Module) -> Iterator[Finding]:
    """Settings by which an image may come from somebody else than its registry."""
    for path, options in _tls_options(module):
        if options is not None and options.insecure:
            yield Finding((*path, "insecure"), "allows plain HTTP: images can be replaced on their way")
        if options is not None and options.insecure_skip_tls_verify:
            message = "accepts any certificate: images can come from another server"
            yield Finding((*path, "insecureSkipTLSVerify"), message)


def _sign_warnings(module: Module) -> Iterator[Finding]:
    container = module.spec.module_loader.container
    folder = container.modprobe.dir_name.rstrip("/") + "/"
    for path, sign in _signs(module):
        for index, file in enumerate(sign.files_to_sign):
            if not file.startswith(folder):
                yield Finding((*path, "filesToSign", index), f"{file} is not below modprobe.dirName, {folder}")
    for index, mapping in enumerate(container.kernel_mappings):
        signs = [sign for sign in (mapping.sign, container.sign) if sign is not None]
        is_built = mapping.build is not None or container.build is not None
        if signs and not is_built and all(sign.unsigned_image is None for sign in signs):
            message = "has nothing to sign: sign needs unsignedImage where the image is not built"
            yield Finding(_mapping_path(index), message)
