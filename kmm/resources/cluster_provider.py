"""What the dynamic providers share: the cluster of the stack, and labels that are given up."""

import sys
from typing import TYPE_CHECKING, Any

from pulumi.dynamic import ConfigureRequest, CreateResult, ResourceProvider

from kmm.cluster import connect, require_identity
from kmm.label_ownership import given_up, is_part_of

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster


class ClusterProvider(ResourceProvider):
    """Writes to one cluster. Holds no client and no credentials: it is pickled into the state, by name."""

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Take the cluster from the stack's present configuration: a state may outlive a kubeconfig's path."""
        sys.tracebacklimit = 0  # the engine shows a provider's exceptions with their traceback; the words are enough
        self._kubeconfig = req.config.get("kmm:kubeconfig")
        self._context = req.config.get("kmm:context")
        self._created: set[str] = set()

    def connect(self, props: dict[str, Any]) -> "Cluster":
        """The stack's cluster; ClusterError when it is not the one that `props["cluster"]` identifies."""
        cluster = connect(self._kubeconfig, self._context)
        require_identity(cluster, props["cluster"])
        return cluster

    def created(self, props: dict[str, Any]) -> CreateResult:
        """What `create` returns: the resource is named after its field manager."""
        self._created.add(props["manager"])
        return CreateResult(props["manager"], dict(props))

    def is_replaced(self, id_: str) -> bool:
        """Whether this run made the same resource anew before it deletes the old one, as `--replace` and taints do.

        Then the labels and pods are those of the new one, and stay.
        """
        return id_ in self._created


def give_up_labels(cluster: "Cluster", manager: str) -> None:
    """Give up every label that this field manager or a part of it owns, also where a state does not know of it."""
    nodes = cluster.nodes()
    everything = {node.name: list(node.label_owners) for node in nodes}
    owned = given_up(everything, nodes, lambda one: one == manager or is_part_of(one, manager))
    for owner, changes in owned.items():
        cluster.apply_node_labels(changes, owner)
