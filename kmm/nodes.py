"""What is known of a cluster's nodes, and which of them take a pod.

`kmm.node_list` makes these values from the API's JSON.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from kmm.names import KERNEL_LABEL

_BLOCKING_EFFECTS: Final = frozenset({"NoSchedule", "NoExecute"})
_PRESSURE: Final = frozenset(
    {
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    }
)
# The pods of every DaemonSet tolerate these (Kubernetes, AddOrUpdateDaemonPodTolerations).
_DAEMON_SETS_TOLERATE: Final = _PRESSURE | {
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
}
# The control plane puts these on a node whose kubelet does not report.
LOST: Final = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node; `effect` is `NoSchedule`, `PreferNoSchedule` or `NoExecute`."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __str__(self) -> str:
        """As `kubectl taint` writes it: `key=value:effect`, or `key:effect` without a value."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


# The scheduler's NodeUnschedulable plugin and the control plane use this taint for `kubectl cordon`.
CORDON: Final = Taint("node.kubernetes.io/unschedulable")


@dataclass(frozen=True, slots=True)
class Node:
    """One node as the API server reports it.

    `kernel_version` is `status.nodeInfo.kernelVersion`, unchanged. `label_owners` maps label keys below
    `kmm.node.kubernetes.io/` to the field managers that own them through server-side apply.
    """

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    kernel_version: str = ""
    label_owners: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def effective_taints(self) -> tuple[Taint, ...]:
        """The taints and that of a cordon, which the control plane adds a little after `unschedulable`."""
        return (*self.taints, CORDON) if self.unschedulable and CORDON not in self.taints else self.taints


class Toleration(Protocol):
    """A pod toleration, as in the Kubernetes API; `None` or empty means not given."""

    @property
    def key(self) -> str | None:
        """The taint's key; none, with `Exists`, stands for every key."""

    @property
    def operator(self) -> str | None:
        """`Equal`, the default, or `Exists`."""

    @property
    def value(self) -> str | None:
        """The taint's value, compared by `Equal`."""

    @property
    def effect(self) -> str | None:
        """The taint's effect; none stands for every effect."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """All labels that one field manager is to own on one node; an empty mapping gives every label up."""

    node: str
    uid: str
    labels: Mapping[str, str]


def by_kernel_label(nodes: Iterable[Node]) -> Mapping[str, Sequence[Node]]:
    """Nodes by the value of their kernel label, empty for those without it."""
    found: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        found[node.labels.get(KERNEL_LABEL, "")].append(node)
    return found


def selected(node: Node, selector: Mapping[str, str]) -> bool:
    """Whether the node's labels hold every pair of `selector`."""
    return selector.items() <= node.labels.items()


def untolerated_taint(node: Node, tolerations: Iterable[Toleration]) -> Taint | None:
    """The first taint (a cordon counts) that keeps pods with these tolerations off the node, or `None`.

    Kubernetes' rule (core/v1 helper `ToleratesTaint`); `PreferNoSchedule` keeps nothing off.
    """
    return next(_untolerated(node, tolerations), None)


def refusing_taint(node: Node, tolerations: Iterable[Toleration]) -> Taint | None:
    """The first taint (a cordon counts) for which a Module with these tolerations does not use the node, or `None`.

    Not one that says what the node runs short of: that comes and goes, and the pods of Modules, which are critical,
    start in spite of it (kubelet, eviction manager).
    """
    return next((one for one in _untolerated(node, tolerations) if (one.key, one.effect) not in _PRESSURE), None)


def keeps_daemon_sets_off(node: Node, tolerations: Iterable[Toleration]) -> bool:
    """Whether a taint keeps even the pods of a DaemonSet off, which tolerate a cordon among others."""
    return any((one.key, one.effect) not in _DAEMON_SETS_TOLERATE for one in _untolerated(node, tolerations))


def takes_daemon_sets(node: Node, tolerations: Iterable[Toleration]) -> bool:
    """Whether the pods of a DaemonSet come to the node, now or when it reports again."""
    return lost(node) or not keeps_daemon_sets_off(node, tolerations)


def lost(node: Node | None) -> bool:
    """Whether nothing can be known of the node's pods: it is gone, or its kubelet does not report."""
    return node is None or any(taint.key in LOST for taint in node.taints)


def _untolerated(node: Node, tolerations: Iterable[Toleration]) -> Iterator[Taint]:
    granted = tuple(tolerations)
    blocking = (taint for taint in node.effective_taints if taint.effect in _BLOCKING_EFFECTS)
    return (taint for taint in blocking if not any(_tolerates(one, taint) for one in granted))


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.operator == "Exists":
        return not toleration.key or toleration.key == taint.key
    equal = (toleration.operator or "Equal") == "Equal"
    return equal and toleration.key == taint.key and (toleration.value or "") == taint.value
