"""Warnings about a valid Module: what is allowed, works, and is yet probably not what was meant.

A warning is given only where it is certain: whether one regular expression takes all that another does is
decided only for simple ones.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kmm.definition import Build, KernelMapping, Modprobe, Module, ModuleLoaderContainer, Sign, TLSOptions
from kmm.definition.formats import compile_regexp
from kmm.definition.messages import closest_key, unknown_key
from kmm.images import ImageReference
from kmm.kernel import VARIABLES, expand, referenced_variables, trim_kernel_version
from kmm.names import API_GROUP, MODULE_ANNOTATIONS
from kmm.problems import FieldPath

_CONTAINER: Final = ("spec", "moduleLoader", "container")
_TAKES_ALL: Final = re.compile(r"\^?\.[*+]\$?")
_FORM_FEED: Final = re.compile(r"(?<!\\)(?:\\\\)*\\f")
_WHITE_SPACE: Final = re.compile(r"\s")
# modprobe puts a value with a space in quotes, unless it has some; other white space it leaves to the kernel.
_TWO_PARAMETERS: Final = re.compile(r"""[\w-]+=[^="']* [\w-]+=[^"']*""")
_LITERAL_KERNEL: Final = compile_regexp(r"^\d+(?:\\?\.\d+)+(?:\\?[-.+_~]|[A-Za-z0-9])*$")


class Finding(NamedTuple):
    """A warning and the place it is about."""

    path: FieldPath
    message: str


def warnings(module: Module) -> Iterator[Finding]:
    """Everything about `module` that a user should look at."""
    yield from _annotation_warnings(module)
    yield from _modprobe_warnings(module.spec.module_loader.container.modprobe)
    yield from _mapping_warnings(module)
    yield from _image_warnings(module)
    yield from insecure_registries(module)
    yield from _sign_warnings(module)
    yield from _job_image_warnings(module.spec.module_loader.container)


def _annotation_warnings(module: Module) -> Iterator[Finding]:
    for key in module.metadata.annotations:
        prefix, _, name = key.lower().rpartition("/")
        if prefix == API_GROUP and key not in MODULE_ANNOTATIONS:
            closest = closest_key(name, [known.removeprefix(f"{API_GROUP}/") for known in MODULE_ANNOTATIONS])
            message = unknown_key(f"{API_GROUP}/{closest}" if closest else "", MODULE_ANNOTATIONS)
            yield Finding(("metadata", "annotations", key), message)


def _modprobe_warnings(modprobe: Modprobe) -> Iterator[Finding]:
    path = (*_CONTAINER, "modprobe")
    for field, arguments in _modprobe_arguments(modprobe):
        for index, word in enumerate(arguments):
            if word.startswith("-") and _WHITE_SPACE.search(word):
                message = "reaches modprobe as one word; put each word in an entry of its own"
                yield Finding((*path, *field, index), message)
    for index, parameter in enumerate(modprobe.parameters):
        if _TWO_PARAMETERS.fullmatch(parameter):
            message = "reaches the kernel as one parameter; put each parameter in an entry of its own"
            yield Finding((*path, "parameters", index), message)


def _modprobe_arguments(modprobe: Modprobe) -> Iterator[tuple[FieldPath, Iterable[str]]]:
    for field, arguments in (("args", modprobe.args), ("rawArgs", modprobe.raw_args)):
        if arguments is not None:
            yield (field, "load"), arguments.load
            yield (field, "unload"), arguments.unload


def _mapping_path(index: int) -> FieldPath:
    return (*_CONTAINER, "kernelMappings", index)


def image_path(container: ModuleLoaderContainer, index: int) -> FieldPath:
    """The field that names the image of the mapping with this index: its own, or the container's."""
    place = _mapping_path(index) if container.kernel_mappings[index].container_image else _CONTAINER
    return (*place, "containerImage")


def _mapping_warnings(module: Module) -> Iterator[Finding]:
    mappings = module.spec.module_loader.container.kernel_mappings
    for index, mapping in enumerate(mappings):
        path = _mapping_path(index)
        if mapping.literal is not None:
            yield from (Finding((*path, "literal"), message) for message in _literal_warnings(mapping.literal))
        if mapping.regexp is not None:
            yield from (Finding((*path, "regexp"), message) for message in _regexp_warnings(mapping.regexp))
        for earlier in range(index):
            if _takes_all_of(mappings[earlier], mapping):
                yield Finding(path, f"never matches: kernelMappings[{earlier}] takes all its kernels")
                break


def _literal_warnings(literal: str) -> Iterator[str]:
    if _WHITE_SPACE.search(literal):
        yield "never matches: no kernel version has white space; in a YAML block write |-"
    elif trim_kernel_version(literal) != literal:
        yield "never matches: kernel versions are compared without their trailing '+'"


def _regexp_warnings(regexp: str) -> Iterator[str]:
    if regexp != regexp.strip():
        yield "begins or ends with white space, which no kernel version has; in a YAML block write |-"
        return
    if _FORM_FEED.search(regexp):
        yield r"\f means a form feed, which no kernel version has, so this can't match; write f for the letter"
    if _LITERAL_KERNEL.search(regexp):
        exact = re.sub(r"\\?([.+])", r"\\\1", regexp)
        yield f"finds kernels that only contain this; write literal, or '^{exact}$'"
    elif regexp[:1].isdigit():
        whole = f"({regexp})" if "|" in regexp else regexp
        yield f"is not anchored: it finds {regexp[:1]}... anywhere in a kernel version; write '^{whole}'"


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


def _job_image_warnings(container: ModuleLoaderContainer) -> Iterator[Finding]:
    """About the images that Jobs start from and make; what several mappings have of the container is told once."""
    indexes = range(len(container.kernel_mappings))
    yield from dict.fromkeys(finding for index in indexes for finding in _made_image_warnings(container, index))


def _made_image_warnings(container: ModuleLoaderContainer, index: int) -> Iterator[Finding]:
    mapping = container.kernel_mappings[index]
    image = mapping.container_image or container.container_image or ""
    is_built, is_signed = mapping.build or container.build, mapping.sign or container.sign
    # One kernel's own image may well be there already, while those of others are made.
    is_made = (mapping.build or mapping.sign) if mapping.container_image else (is_built or is_signed)
    if "@" in image and is_made:
        message = f"{image} is by digest, which an image that is to be made cannot have beforehand; name a tag"
        yield Finding(image_path(container, index), message)
    if is_signed and not is_built:
        yield from _unsigned_image_warnings(container, index, image)


def _unsigned_image_warnings(container: ModuleLoaderContainer, index: int, image: str) -> Iterator[Finding]:
    place = _mapping_path(index)
    signs = {(*place, "sign"): container.kernel_mappings[index].sign, (*_CONTAINER, "sign"): container.sign}
    unsigned = [(path, sign.unsigned_image) for path, sign in signs.items() if sign and sign.unsigned_image]
    if not unsigned:
        yield Finding(place, "has nothing to sign: sign needs unsignedImage where the image is not built")
    elif unsigned[0][1] == image:
        message = f"{image} is the image that signing makes; name the one to be signed"
        yield Finding((*unsigned[0][0], "unsignedImage"), message)
