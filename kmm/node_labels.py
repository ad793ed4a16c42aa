"""Labels on nodes as one Pulumi resource, however many nodes there are (`kmm.label_ownership` says who owns what).

Taking labels off a node changes the field manager and so *replaces* the resource: the new one applies what is still
wanted early in the run, the old one gives its labels up when everything that depends on it is gone. So a loader's
pods end, and unload, while their node still carries the label of its kernel.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from kmm.cluster import connect, require_identity
from kmm.label_ownership import Labels, differing_nodes, field_manager, owned_labels
from kmm.nodes import LabelChange, Node

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster


class NodeLabelsArgs(TypedDict):
    """What to label. All plain values.

    `cluster`: the UID that identifies the cluster; another one is never written to.
    `manager`: the field manager that owns the labels.
    `nodes`: by node name, its `uid` and the `labels` it shall carry.
    `differing`: names of nodes in `nodes` whose labels are not so now.
    """

    cluster: str
    manager: str
    nodes: dict[str, Any]
    differing: list[str]


def node_labels_args(cluster: str, owner: str, wanted: Mapping[str, Labels], nodes: Sequence[Node]) -> NodeLabelsArgs:
    """The arguments that make `owner` own exactly `wanted` (labels by node name) on these nodes, seen as they are."""
    manager = field_manager(owner, wanted, nodes)
    labelled = [node for node in nodes if wanted.get(node.name)]
    return {
        "cluster": cluster,
        "manager": manager,
        "nodes": {node.name: {"uid": node.uid, "labels": dict(wanted[node.name])} for node in labelled},
        "differing": differing_nodes(manager, wanted, labelled),
    }


class _NodeLabelsProvider(ResourceProvider):
    """Writes what `kmm.cluster` is told. Holds no client and no credentials: it is pickled into the state."""

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Take the cluster from the stack's present configuration: a state may outlive a kubeconfig's path."""
        sys.tracebacklimit = 0  # the engine shows a provider's exceptions with their traceback; the words are enough
        self._kubeconfig = req.config.get("kmm:kubeconfig")
        self._context = req.config.get("kmm:context")

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace when labels are to be taken off, update when nodes differ or come and go."""
        replaces = ["manager"] if news["manager"] != olds["manager"] else []
        changes = bool(replaces or news["differing"] or news["nodes"] != olds["nodes"])
        return DiffResult(changes=changes, replaces=replaces)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Label every node."""
        self._apply(props, props["nodes"])
        return CreateResult(props["manager"], dict(props))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Label the nodes that are new, changed, or were seen to differ."""
        nodes = news["nodes"]
        self._apply(
            news,
            {
                name: node
                for name, node in nodes.items()
                if name in news["differing"] or node != olds["nodes"].get(name)
            },
        )
        return UpdateResult(dict(news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Give up every label that this manager owns, also where the state does not know of it."""
        cluster = self._connect(props)
        owned = [node for node in cluster.nodes() if owned_labels(id_, node)]
        cluster.apply_node_labels([LabelChange(node.name, node.uid, {}) for node in owned], id_)

    def _apply(self, props: dict[str, Any], nodes: dict[str, Any]) -> None:
        changes = [LabelChange(name, node["uid"], node["labels"]) for name, node in sorted(nodes.items())]
        if changes:
            self._connect(props).apply_node_labels(changes, props["manager"])

    def _connect(self, props: dict[str, Any]) -> "Cluster":
        cluster = connect(self._kubeconfig, self._context)
        require_identity(cluster, props["cluster"])
        return cluster


class NodeLabels(Resource, module="kmm", name="NodeLabels"):
    """Labels on many nodes (`NodeLabelsArgs`)."""

    def __init__(self, name: str, args: NodeLabelsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_NodeLabelsProvider(), name, dict(args), opts)
