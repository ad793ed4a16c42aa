"""Labels on nodes as one Pulumi resource, however many nodes there are (`kmm.label_ownership` says who owns what).

Taking labels off a node changes the field manager and so *replaces* the resource: the new one applies what is still
wanted early in the run, the old one gives its labels up when everything that depends on it is gone. So a loader's
pods end, and unload, while their node still carries the label of its kernel.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from kmm.label_ownership import Labels, differing_nodes, field_manager
from kmm.nodes import LabelChange, Node
from kmm.resources.cluster_provider import ClusterProvider, give_up_labels


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


class NodeLabelsProvider(ClusterProvider):
    """Applies the labels of `NodeLabelsArgs`."""

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Replace when labels are to be taken off, update when nodes differ or come and go."""
        replaces = ["manager"] if news["manager"] != olds["manager"] else []
        changes = bool(replaces or news["differing"] or news["nodes"] != olds["nodes"])
        return DiffResult(changes=changes, replaces=replaces)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Label every node."""
        self._apply(props, props["nodes"])
        return self.created(props)

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
        if not self.is_replaced(id_):
            give_up_labels(self.connect(props), id_)

    def _apply(self, props: dict[str, Any], nodes: dict[str, Any]) -> None:
        changes = [LabelChange(name, node["uid"], node["labels"]) for name, node in sorted(nodes.items())]
        if changes:
            self.connect(props).apply_node_labels(changes, props["manager"])


class NodeLabels(Resource, module="kmm", name="NodeLabels"):
    """Labels on many nodes (`NodeLabelsArgs`)."""

    def __init__(self, name: str, args: NodeLabelsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(NodeLabelsProvider(), name, dict(args), opts)
