"""The Module of API v1beta1 as in the operator's release v1.1.0, plus `spec.tolerations` of its v2.

Rules between fields are the admission webhook's. What v1.1.0 accepts and would fail on the cluster later for
a reason that can be seen here (a name no label can hold, an unknown variable) is an error too.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kmm.definition.formats import (
    DnsLabel,
    EnvironmentName,
    Image,
    ImageTemplate,
    KernelModuleName,
    LabelKey,
    LabelValue,
    ObjectName,
    Regexp,
    Tag,
    Template,
)
from kmm.definition.kubernetes import (
    EnvironmentVariable,
    LocalObjectReference,
    PullPolicy,
    Resources,
    Toleration,
    VolumeMount,
)
from kmm.definition.model import Definition, Sequence, field_error
from kmm.definition.volumes import Volume
from kmm.names import (
    MAX_NAME,
    NODE_PREFIX,
    UNLOAD_POLICY_ANNOTATION,
    device_plugin_ready_label,
    ready_label,
    version_label,
)

Labels = Mapping[LabelKey, LabelValue]
DEVICE_PLUGIN_VOLUME: Final = "kubelet-device-plugins"  # added to every device plugin; users may mount it too

# What the API server adds to a live object's metadata: users paste the output of `kubectl get -o yaml`.
_LIVE_METADATA: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


class Metadata(Definition):
    """Name and labels of a Module."""

    name: ObjectName
    namespace: DnsLabel = "default"
    labels: Labels = Field(default_factory=dict)
    annotations: Mapping[LabelKey, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _drop_live_fields(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if key not in _LIVE_METADATA}


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


class DevicePluginContainer(Definition):
    """The container of the device plugin."""

    image: Image
    image_pull_policy: PullPolicy | None = None
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Sequence[EnvironmentVariable] = ()
    resources: Resources = Field(default_factory=dict)
    volume_mounts: Sequence[VolumeMount] = ()


class DevicePlugin(Definition):
    """The pods that offer devices to the kubelet on nodes where the kernel module is loaded."""

    container: DevicePluginContainer
    service_account_name: ObjectName | None = None
    volumes: Sequence[Volume] = ()

    @model_validator(mode="after")
    def _mounts_have_volumes(self) -> Self:
        names = [volume["name"] for volume in self.volumes]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise field_error(f"{name!r} is the name of another volume too", name, "volumes", index, "name")
        for index, mount in enumerate(self.container.volume_mounts):
            if mount["name"] not in (*names, DEVICE_PLUGIN_VOLUME):
                message = f"{mount['name']!r} is not the name of a volume; volumes are {', '.join(names) or 'none'}"
                raise field_error(message, mount["name"], "container", "volumeMounts", index, "name")
        return self


class ModuleSpec(Definition):
    """What is wanted."""

    module_loader: ModuleLoader
    device_plugin: DevicePlugin | None = None
    image_repo_secret: LocalObjectReference | None = None
    selector: Labels
    tolerations: Sequence[Toleration] = ()


class Module(Definition):
    """A kernel module, the kernels it has images for, and the nodes that shall have it."""

    api_version: Literal["kmm.sigs.x-k8s.io/v1beta1"]
    kind: Literal["Module"]
    metadata: Metadata
    spec: ModuleSpec

    @property
    def key(self) -> str:
        """`namespace/name`, unique among the Modules of a cluster."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def unloads(self) -> bool:
        """Whether the kernel module is unloaded when its loader goes (annotation `unload-policy`, `Always`)."""
        return self.metadata.annotations.get(UNLOAD_POLICY_ANNOTATION, "Always") == "Always"

    @model_validator(mode="before")
    @classmethod
    def _drop_status(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if key != "status"}

    @model_validator(mode="after")
    def _unload_policy_is_known(self) -> Self:
        policy = self.metadata.annotations.get(UNLOAD_POLICY_ANNOTATION, "Always")
        if policy not in ("Always", "Never"):
            message = f"must be Always or Never, not {policy!r}"
            raise field_error(message, policy, "metadata", "annotations", UNLOAD_POLICY_ANNOTATION)
        return self

    @model_validator(mode="after")
    def _name_fits_node_labels(self) -> Self:
        namespace, name = self.metadata.namespace, self.metadata.name
        labels = [ready_label(namespace, name)]
        if self.spec.device_plugin is not None:
            labels.append(device_plugin_ready_label(namespace, name))
        if self.spec.module_loader.container.version is not None:
            labels.append(version_label(namespace, name))
        longest = max(labels, key=len)
        excess = len(longest) - len(NODE_PREFIX) - MAX_NAME
        if excess > 0:
            message = (
                f"{name!r} is too long by {excess} characters: nodes carry the label {longest}, of which "
                f"Kubernetes allows {MAX_NAME} characters after the '/'"
            )
            raise field_error(message, name, "metadata", "name")
        return self
