"""The part of a Module that gets it into a kernel: images by kernel, modprobe, build and sign."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kmm.definition.formats import (
    EnvironmentName,
    ImageTemplate,
    KernelModuleName,
    Labels,
    LabelValue,
    ObjectName,
    Regexp,
    Tag,
    Template,
)
from kmm.definition.kubernetes import LocalObjectReference, PullPolicy
from kmm.definition.model import Definition, Sequence, field_error


class TLSOptions(Definition):
    """How a registry is reached."""

    insecure: bool = False
    insecure_skip_tls_verify: bool = False


class BuildArg(Definition):
    """One `--build-arg`."""

    name: EnvironmentName
    value: str


class KanikoParams(Definition):
    """Settings of the kaniko builder."""

    tag: Tag | None = None


class Build(Definition):
    """How the image of a kernel is built when the registry does not have it."""

    dockerfile_config_map: LocalObjectReference
    build_args: Sequence[BuildArg] = ()
    secrets: Sequence[LocalObjectReference] = ()
    base_image_registry_tls: TLSOptions | None = None
    kaniko_params: KanikoParams | None = None
    selector: Labels = Field(default_factory=dict)


class Sign(Definition):
    """How the kernel modules of an image are signed when the registry does not have the signed image."""

    cert_secret: LocalObjectReference
    key_secret: LocalObjectReference
    unsigned_image: ImageTemplate | None = None
    unsigned_image_registry_tls: TLSOptions | None = None
    files_to_sign: Sequence[Template] = ()


class KernelMapping(Definition):
    """What serves the kernels that `literal` equals or `regexp` finds."""

    literal: str | None = None
    regexp: Regexp | None = None
    container_image: ImageTemplate | None = None
    build: Build | None = None
    sign: Sign | None = None
    registry_tls: TLSOptions | None = None
    in_tree_module_to_remove: KernelModuleName | None = None

    @model_validator(mode="after")
    def _literal_or_regexp(self) -> Self:
        if (self.literal is None) == (self.regexp is None):
            given = "neither" if self.literal is None else "both"
            raise ValueError(f"needs exactly one of literal and regexp, but has {given}")
        return self


class ModprobeArgs(Definition):
    """Arguments of modprobe, for each of its two uses."""

    load: Sequence[str] = ()
    unload: Sequence[str] = ()


class Modprobe(Definition):
    """Which kernel module is loaded and how."""

    empty_counts = ("dir_name",)
    module_name: KernelModuleName | None = None
    dir_name: str = "/opt"
    firmware_path: str | None = None
    parameters: Sequence[str] = ()
    modules_loading_order: Sequence[KernelModuleName] | None = None
    args: ModprobeArgs | None = None
    raw_args: ModprobeArgs | None = None

    @model_validator(mode="after")
    def _name_or_raw_args(self) -> Self:
        raw = self.raw_args or ModprobeArgs()
        if self.module_name is None and not (raw.load and raw.unload):
            raise field_error("is required, unless rawArgs has both load and unload", self.module_name, "moduleName")
        if self.module_name is not None and (raw.load or raw.unload):
            raise field_error("must not be given together with moduleName", self.raw_args, "rawArgs")
        return self

    @field_validator("modules_loading_order")
    @classmethod
    def _order_starts_with_module(cls, order: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if order is None or "module_name" not in info.data:
            return order
        name = info.data["module_name"]
        if name is None:
            raise ValueError("needs moduleName")
        if len(order) < 2 or order[0] != name:
            raise ValueError(f"needs at least two entries, the first of them moduleName ({name})")
        repeated = sorted({module for module in order if order.count(module) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(repeated)} more than once")
        return order


def _has_image(mapping: KernelMapping, container: ValidationInfo) -> KernelMapping:
    """`container` holds the container's valid fields: a wrong containerImage is not reported twice."""
    if mapping.container_image is None and container.data.get("container_image", "") is None:
        raise field_error("is required, here or at the container", None, "containerImage")
    return mapping


class ModuleLoaderContainer(Definition):
    """The container that loads the kernel module, with defaults for all kernel mappings."""

    container_image: ImageTemplate | None = None  # before kernel_mappings, whose rule looks at it
    image_pull_policy: PullPolicy | None = None
    build: Build | None = None
    sign: Sign | None = None
    registry_tls: TLSOptions | None = None
    in_tree_module_to_remove: KernelModuleName | None = None
    kernel_mappings: Sequence[Annotated[KernelMapping, AfterValidator(_has_image)]]
    modprobe: Modprobe
    version: LabelValue | None = None

    @field_validator("kernel_mappings")
    @classmethod
    def _one_at_least(cls, mappings: tuple[KernelMapping, ...]) -> tuple[KernelMapping, ...]:
        # min_length would count the valid mappings only, and complain besides their own problems.
        if not mappings:
            raise ValueError("needs at least one entry")
        return mappings


class ModuleLoader(Definition):
    """The pods that load the kernel module."""

    container: ModuleLoaderContainer
    service_account_name: ObjectName | None = None
