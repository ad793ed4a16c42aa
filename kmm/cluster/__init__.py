"""The only Kubernetes connection: reads nodes, writes their labels.

A read that fails is never an empty answer: it raises, and nothing is declared. `kubeconfig` decides which cluster is
meant, `connection` talks to it, `lists` reads in pages, `client` knows what to ask.
"""

from typing import TYPE_CHECKING

from kmm.errors import ClusterError

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster


def connect(kubeconfig: str | None = None, context: str | None = None) -> "Cluster":
    """The cluster that kubectl would use; `None` or empty means not given. Nothing is sent yet.

    Raises ClusterError if there is no usable kubeconfig, context or credential.
    """
    # The official client takes 0.2 s to import, and most commands need no cluster.
    from kmm.cluster.client import Cluster  # noqa: PLC0415
    from kmm.cluster.connection import open_connection  # noqa: PLC0415
    from kmm.cluster.kubeconfig import resolve  # noqa: PLC0415

    access = resolve(kubeconfig, context)
    return Cluster(open_connection(access), access)


def require_identity(cluster: "Cluster", expected: str) -> None:
    """Raise ClusterError unless this is the cluster that a stack's state is about.

    In another cluster everything of the state would seem to be gone.
    """
    found = cluster.identity()
    if found != expected:
        raise ClusterError(
            f"wrong cluster: this stack belongs to the cluster whose namespace kube-system has UID {expected}, but "
            f"{cluster} leads to {found}. Nothing was changed in either cluster. Set kmm:kubeconfig and kmm:context to "
            "the stack's, or use another stack for this one: pulumi stack init NAME. After a refresh here, which takes "
            "all objects out of the state, take them over in the stack's cluster, which unloads nothing: "
            "PULUMI_K8S_UPSERT_EXISTING_OBJECTS=true pulumi up"
        )
