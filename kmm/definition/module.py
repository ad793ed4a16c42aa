"""The Module of API v1beta1 as in the operator's release v1.1.0, plus `spec.tolerations` of its v2.

Rules between fields are the admission webhook's. What v1.1.0 accepts and would fail on the cluster later for
a reason that can be seen here (a name no label can hold, an unknown variable) is an error too.
"""

from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from kmm.definition.device_plugin import DevicePlugin
from kmm.definition.formats import AnnotationKey, DnsLabel, Labels, ObjectName
from kmm.definition.kubernetes import LocalObjectReference, Toleration
from kmm.definition.model import Definition, Sequence, field_error
from kmm.definition.module_loader import ModuleLoader
from kmm.names import (
    MAX_NAME,
    NODE_PREFIX,
    UNLOAD_POLICY_ANNOTATION,
    device_plugin_ready_label,
    ready_label,
    version_label,
)

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
    annotations: Mapping[AnnotationKey, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _drop_live_fields(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if key not in _LIVE_METADATA}


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
