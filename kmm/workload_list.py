"""Lists of DaemonSets and pods, as the API server writes them, to values of `kmm.workloads`."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import AliasPath, Field, ValidationError

from kmm.errors import ClusterError
from kmm.kernel import MODULES_FOLDER
from kmm.names import MODULE_NAME_LABEL, TEMPLATE_HASH_ANNOTATION, UNLOAD_POLICY_ANNOTATION
from kmm.wire import Nullable, Page, Wire
from kmm.workloads import DaemonSet, Pod

_TEMPLATE_ANNOTATION = "deprecated.daemonset.template.generation"
_TEMPLATE_LABEL = "pod-template-generation"


class _Owner(Wire):
    kind: str
    name: str


class Identity(Wire):
    """Which object, and which of those that bore its name."""

    name: str
    namespace: str
    uid: str


class _Metadata(Wire):
    name: str
    namespace: str
    generation: int = 0
    labels: Nullable[dict[str, str]] = Field(default_factory=dict)
    annotations: Nullable[dict[str, str]] = Field(default_factory=dict)
    owner_references: Nullable[tuple[_Owner, ...]] = ()
    deletion_timestamp: str | None = None


class _DaemonSetStatus(Wire):
    observed_generation: int = 0
    desired_number_scheduled: int = 0
    number_misscheduled: int = 0
    updated_number_scheduled: int = 0
    number_ready: int = 0


class _Toleration(Wire):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class _HostPath(Wire):
    path: str


class _Volume(Wire):
    host_path: _HostPath | None = None


class _DaemonSet(Wire):
    metadata: _Metadata
    node_selector: Nullable[dict[str, str]] = Field(
        default_factory=dict, validation_alias=AliasPath("spec", "template", "spec", "nodeSelector")
    )
    tolerations: Nullable[tuple[_Toleration, ...]] = Field(
        (), validation_alias=AliasPath("spec", "template", "spec", "tolerations")
    )
    image: str = Field("", validation_alias=AliasPath("spec", "template", "spec", "containers", 0, "image"))
    volumes: Nullable[tuple[_Volume, ...]] = Field(
        (), validation_alias=AliasPath("spec", "template", "spec", "volumes")
    )
    status: _DaemonSetStatus = _DaemonSetStatus()


class _Waiting(Wire):
    reason: str = ""
    message: str = ""


class _Terminated(Wire):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _ContainerState(Wire):
    waiting: _Waiting | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(Wire):
    restart_count: int = 0
    state: _ContainerState = _ContainerState()
    last_state: _ContainerState = _ContainerState()


class _Condition(Wire):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class _PodStatus(Wire):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: Nullable[tuple[_Condition, ...]] = ()
    container_statuses: Nullable[tuple[_ContainerStatus, ...]] = ()


class _Pod(Wire):
    metadata: _Metadata
    node: Nullable[str] = Field("", validation_alias=AliasPath("spec", "nodeName"))
    status: _PodStatus = _PodStatus()


class _Event(Wire):
    type: str
    object: dict[str, object]


class _Version(Wire):
    resource_version: str = Field(validation_alias=AliasPath("metadata", "resourceVersion"))


class _List(Wire):
    continue_token: Nullable[str] = Field("", validation_alias=AliasPath("metadata", "continue"))


class _DaemonSetList(_List):
    items: tuple[_DaemonSet, ...] | None


class _AnyKind(Wire):
    metadata: Identity


class _Warning(Wire):
    message: Nullable[str] = ""
    last_timestamp: Nullable[str] = ""
    event_time: Nullable[str] = ""


class _EventList(_List):
    items: tuple[_Warning, ...] | None


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody noticed of an object, and when last (RFC 3339, UTC)."""

    last: str
    message: str


class _AnyKindList(_List):
    items: tuple[_AnyKind, ...] | None


class _PodList(_List):
    items: tuple[_Pod, ...] | None


_AnyList = TypeVar("_AnyList", bound=_List)


def parse_daemon_sets(body: bytes) -> Page[DaemonSet]:
    """One page of `GET /apis/apps/v1/daemonsets`. Raises ClusterError if it is not that."""
    found = _parsed(_DaemonSetList, body)
    return Page(tuple(map(_daemon_set, found.items or ())), found.continue_token)


def parse_identities(body: bytes) -> Page[Identity]:
    """One page of a list of any kind. Raises ClusterError if it is not that."""
    found = _parsed(_AnyKindList, body)
    return Page(tuple(one.metadata for one in found.items or ()), found.continue_token)


def parse_pods(body: bytes) -> Page[Pod]:
    """One page of `GET /api/v1/pods`. Raises ClusterError if it is not that."""
    found = _parsed(_PodList, body)
    return Page(tuple(map(_pod, found.items or ())), found.continue_token)


@dataclass(frozen=True, slots=True)
class PodEvent:
    """A step in the history of pods: `version` is its resource version, `gone` the pod that went, as it last was."""

    version: str
    gone: Pod | None


def parse_pod_event(line: bytes) -> PodEvent:
    """One line of a watch of pods. Raises ClusterError if it is an error, such as an expired resource version."""
    try:
        event = _Event.model_validate_json(line)
        if event.type == "ERROR":
            raise ClusterError(f"the watch of pods ended: {event.object.get('message', 'no reason given')}")
        version = _Version.model_validate(event.object).resource_version
        return PodEvent(version, _pod(_Pod.model_validate(event.object)) if event.type == "DELETED" else None)
    except ValidationError:
        raise ClusterError("not the event of a pod that was asked for") from None


def parse_events(body: bytes) -> Page[Event]:
    """One page of `GET /api/v1/events`. Raises ClusterError if it is not that."""
    found = _parsed(_EventList, body)
    events = (Event(one.last_timestamp or one.event_time, one.message) for one in found.items or ())
    return Page(tuple(events), found.continue_token)


def _parsed(model: type[_AnyList], body: bytes) -> _AnyList:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the answer'}: {one['msg']}" for one in error.errors()[:3]
        )
        raise ClusterError(f"not the list that was asked for: {problems}") from None


def _daemon_set(wire: _DaemonSet) -> DaemonSet:
    metadata, status = wire.metadata, wire.status
    return DaemonSet(
        namespace=metadata.namespace,
        name=metadata.name,
        labels=metadata.labels,
        node_selector=wire.node_selector,
        tolerations=wire.tolerations,
        image=wire.image,
        release=_release(wire),
        template_hash=metadata.annotations.get(TEMPLATE_HASH_ANNOTATION, ""),
        unloads=metadata.annotations.get(UNLOAD_POLICY_ANNOTATION) != "Never",
        template=metadata.annotations.get(_TEMPLATE_ANNOTATION, ""),
        observed=status.observed_generation >= metadata.generation,
        desired=status.desired_number_scheduled,
        misscheduled=status.number_misscheduled,
        updated=status.updated_number_scheduled,
        ready=status.number_ready,
    )


def _release(wire: _DaemonSet) -> str:
    folders = (volume.host_path.path for volume in wire.volumes if volume.host_path)
    return next((path.removeprefix(MODULES_FOLDER) for path in folders if path.startswith(MODULES_FOLDER)), "")


def _unscheduled(wire: _Pod) -> _Waiting | None:
    found = (one for one in wire.status.conditions if one.type == "PodScheduled" and one.status == "False")
    return next((_Waiting(reason=one.reason, message=one.message) for one in found), None)


def _pod(wire: _Pod) -> Pod:
    container = next(iter(wire.status.container_statuses), _ContainerStatus())
    waiting = container.state.waiting or _unscheduled(wire) or _Waiting()
    ended = container.state.terminated or container.last_state.terminated
    ready = next((one for one in wire.status.conditions if one.type == "Ready" and one.status == "True"), None)
    return Pod(
        namespace=wire.metadata.namespace,
        name=wire.metadata.name,
        node=wire.node,
        module=f"{wire.metadata.namespace}/{wire.metadata.labels.get(MODULE_NAME_LABEL, '')}",
        daemon_set=next((owner.name for owner in wire.metadata.owner_references if owner.kind == "DaemonSet"), ""),
        template=wire.metadata.labels.get(_TEMPLATE_LABEL, ""),
        phase=wire.status.phase,
        reason=wire.status.reason,
        message=wire.status.message,
        ready=ready is not None,
        ready_since=ready.last_transition_time if ready else None,
        deleting=wire.metadata.deletion_timestamp is not None,
        waiting=waiting.reason,
        waiting_message=waiting.message,
        exit_code=ended.exit_code if ended else None,
        last_words=ended.message.strip() if ended else "",
        restarts=container.restart_count,
    )
