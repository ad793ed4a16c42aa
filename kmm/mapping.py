"""What a Module means for one kernel: the first mapping that matches, merged with the container's defaults.

From `ResolvedKernel` on, the kernel mappings are not looked at again (the operator's ModuleLoaderData plays
the same part).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kmm.definition import Build, KernelMapping, Module, Sign, TLSOptions
from kmm.definition.formats import compile_regexp
from kmm.errors import PlanError
from kmm.images import ImageReference, unsigned_image
from kmm.kernel import expand, kernel_label_value, template_variables, trim_kernel_version
from kmm.names import KERNEL_LABEL, version_label

_compiled = lru_cache(maxsize=1024)(compile_regexp)


@dataclass(frozen=True)
class ResolvedKernel:
    """One Module on one kernel, all defaults merged and all variables expanded.

    `pinned_image` is `image` with the digest to deploy, if one is pinned. `release` is the kernel's own name for
    itself (`uname -r`), also that of its folder in /lib/modules; `kernel` is the same without a trailing `+`, which
    names, labels and variables go by.
    """

    module: Module
    release: str
    mapping: int
    image: str
    build: Build | None
    sign: Sign | None
    registry_tls: TLSOptions
    in_tree_module_to_remove: str | None
    pinned_image: str | None = None

    @property
    def kernel(self) -> str:
        """The kernel version without a trailing `+`."""
        return trim_kernel_version(self.release)

    @property
    def deployed_image(self) -> str:
        """What the loader's pods run."""
        return self.pinned_image or self.image

    @property
    def kernel_label(self) -> dict[str, str]:
        """The label that nodes of this kernel carry."""
        return {KERNEL_LABEL: kernel_label_value(self.release)}

    @property
    def unsigned_image(self) -> str | None:
        """The image that signing starts from: the user's, or the intermediate one that a build leaves."""
        if self.sign is None:
            return None
        if self.build is None:
            return self.sign.unsigned_image
        return unsigned_image(self.image, self.module.metadata.namespace, self.module.metadata.name)

    @property
    def unsigned_image_tls(self) -> TLSOptions:
        """How the unsigned image is reached."""
        if self.build is not None or self.sign is None:
            return self.registry_tls
        return self.sign.unsigned_image_registry_tls or TLSOptions()

    @property
    def build_image(self) -> str:
        """The image that the build Job pushes: the final one, or the unsigned one when signing follows."""
        return self.unsigned_image or self.image

    @property
    def obstacle(self) -> str | None:
        """Why no Job can make `image`, in words; None when one can."""
        if self.build is None and self.sign is None:
            return f"mapping {self.mapping} neither builds nor signs it"
        image, unsigned = ImageReference.parse(self.image), self.unsigned_image
        if image.digest is not None:
            return "it can't be made as it is by digest: name a tag"
        if self.sign is not None and unsigned is None:
            return f"mapping {self.mapping} has nothing to sign: give it sign.unsignedImage, or build"
        if unsigned is not None and ImageReference.parse(unsigned) == image:
            return f"mapping {self.mapping} would make it of itself: name the image to be signed in sign.unsignedImage"
        return None


def version_selector(module: Module) -> dict[str, str]:
    """The label by which users move a node to `container.version`; empty without a version."""
    version = module.spec.module_loader.container.version
    return {version_label(module.metadata.namespace, module.metadata.name): version} if version else {}


def find_mapping(mappings: Iterable[KernelMapping], kernel: str) -> int | None:
    """Index of the first mapping that takes `kernel`; `literal` is equality, `regexp` an unanchored RE2 search."""
    for index, mapping in enumerate(mappings):
        if mapping.literal == kernel or (mapping.regexp and _compiled(mapping.regexp).search(kernel)):
            return index
    return None


def resolve(module: Module, release: str) -> ResolvedKernel | None:
    """The Module on the kernel that reports itself as `release`, or None when no mapping takes it.

    Raises PlanError when a template needs a part that this kernel version does not have, or makes no image of it.
    """
    kernel = trim_kernel_version(release)
    container = module.spec.module_loader.container
    index = find_mapping(container.kernel_mappings, kernel)
    if index is None:
        return None
    mapping = container.kernel_mappings[index]
    variables = template_variables(kernel, module.metadata.name, module.metadata.namespace)
    return ResolvedKernel(
        module=module,
        release=release,
        mapping=index,
        image=_expand_image(mapping.container_image or container.container_image or "", variables),
        build=_merge_build(container.build, mapping.build),
        sign=_expand_sign(_merge_sign(container.sign, mapping.sign), variables),
        registry_tls=mapping.registry_tls or container.registry_tls or TLSOptions(),
        in_tree_module_to_remove=mapping.in_tree_module_to_remove or container.in_tree_module_to_remove,
    )


def _merge_build(default: Build | None, own: Build | None) -> Build | None:
    """The mapping's values win; build arguments are overridden by name, secrets appended, each once."""
    if default is None or own is None:
        return own or default
    arguments = {argument.name: argument for argument in (*default.build_args, *own.build_args)}
    secrets = {secret.name: secret for secret in (*default.secrets, *own.secrets)}
    return default.model_copy(
        update=_set_fields(own) | {"build_args": tuple(arguments.values()), "secrets": tuple(secrets.values())}
    )


def _merge_sign(default: Sign | None, own: Sign | None) -> Sign | None:
    """The mapping's values win field by field; its files are appended, each once."""
    if default is None or own is None:
        return own or default
    files = dict.fromkeys((*default.files_to_sign, *own.files_to_sign))
    return default.model_copy(update=_set_fields(own) | {"files_to_sign": tuple(files)})


def _expand_image(template: str, variables: Mapping[str, str]) -> str:
    """An image may not hold the `+` of a kernel version: `_` stands for it, as in the operator's version 2."""
    image = expand(template, {name: value.replace("+", "_") for name, value in variables.items()})
    try:
        ImageReference.parse(image)
    except ValueError as error:
        raise PlanError(
            f"{template} makes {image!r}, which is no image: {error}. Add a mapping with literal and its own image"
        ) from error
    return image


def _expand_sign(sign: Sign | None, variables: Mapping[str, str]) -> Sign | None:
    if sign is None:
        return None
    return sign.model_copy(
        update={
            "unsigned_image": sign.unsigned_image and _expand_image(sign.unsigned_image, variables),
            "files_to_sign": tuple(expand(file, variables) for file in sign.files_to_sign),
        }
    )


def _set_fields(spec: Build | Sign) -> dict[str, object]:
    return {name: value for name in spec.model_fields_set if (value := getattr(spec, name))}
