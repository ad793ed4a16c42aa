"""The ready labels, before any loader changes: taken off where a module is about to be unloaded.

The device plugin runs where the ready label is, and may hold the module: it has to leave first. `Rollout`, after the
loaders, puts the labels on, as the same field manager.
"""

import time
from typing import Any, Final, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from kmm.cluster.client import Cluster
from kmm.errors import ClusterError
from kmm.label_ownership import owned_labels
from kmm.names import ROLE_DEVICE_PLUGIN
from kmm.nodes import LabelChange
from kmm.resources.cluster_provider import ClusterProvider, give_up_labels

_GONE_WITHIN: Final = 120.0  # seconds for device-plugin pods to end
_PAUSE: Final = 1.0


class ReadyLabelsArgs(TypedDict):
    """Plain values. `cluster` is its UID, `manager` the field manager of all ready labels of the stack.

    `release`: by node name, the label keys to take off. `plugins`: `namespace/name` of the DaemonSets whose pods must
    be gone from these nodes before anything is unloaded.
    """

    cluster: str
    manager: str
    release: dict[str, list[str]]
    plugins: list[str]


class ReadyLabelsProvider(ClusterProvider):
    """Takes ready labels off, and waits for the device plugins."""

    def diff(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Only what is to be taken off now matters, not what once was."""
        return DiffResult(changes=bool(news["release"]))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Also in a first run: an earlier one may have been killed before its state was saved."""
        self._release(props)
        return CreateResult(props["manager"], dict(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take the labels off and wait."""
        self._release(news)
        return UpdateResult(dict(news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Nothing of the stack is left that a label could speak of."""
        give_up_labels(self.connect(props), id_)

    def _release(self, props: dict[str, Any]) -> None:
        release: dict[str, list[str]] = props["release"]
        if not release:
            return
        cluster, manager = self.connect(props), props["manager"]
        changes = []
        for node in cluster.nodes():
            owned = owned_labels(manager, node)
            kept = {key: "" for key in owned if key not in release.get(node.name, [])}
            if kept != owned:
                changes.append(LabelChange(node.name, node.uid, kept))
        cluster.apply_node_labels(changes, manager)
        _await_gone(cluster, set(props["plugins"]), set(release))


def _await_gone(cluster: Cluster, plugins: set[str], nodes: set[str]) -> None:
    """Wait for the DaemonSet controller to take the plugins' pods off the nodes."""
    deadline = time.monotonic() + _GONE_WITHIN
    while left := [
        pod
        for pod in (cluster.pods(ROLE_DEVICE_PLUGIN) if plugins else ())
        if f"{pod.namespace}/{pod.daemon_set}" in plugins and pod.node in nodes
    ]:
        if time.monotonic() >= deadline:
            names = ", ".join(f"{pod.namespace}/{pod.name} on {pod.node}" for pod in left[:10])
            raise ClusterError(
                f"{len(left)} device-plugin pods are still there after {_GONE_WITHIN:.0f} s: {names}. Nothing was "
                "unloaded. See why they do not end (kubectl describe pod), then run `pulumi up` again"
            )
        time.sleep(_PAUSE)


class ReadyLabels(Resource, module="kmm", name="ReadyLabels"):
    """The ready labels of all Modules (`ReadyLabelsArgs`)."""

    def __init__(self, name: str, args: ReadyLabelsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ReadyLabelsProvider(), name, dict(args), opts)
