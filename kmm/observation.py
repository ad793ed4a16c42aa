"""Everything that is read before anything is decided. The reads that need nothing of each other run side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kmm.cluster import connect
from kmm.cluster.client import Cluster
from kmm.loading import Loaded, load_modules
from kmm.nodes import Node
from kmm.plan import Images
from kmm.settings import Settings
from kmm.workloads import DaemonSet


@dataclass(frozen=True)
class Observation:
    """What a run goes by. `identity` is the cluster's."""

    loaded: Loaded
    cluster: Cluster
    identity: str
    nodes: Sequence[Node]
    daemon_sets: Sequence[DaemonSet]
    images: Images


def observe(settings: Settings) -> Observation:
    """Read Module files, cluster and registries. Raises KmmError when any read fails: never a partial answer."""
    loaded = load_modules(settings.modules)
    cluster = connect(settings.kubeconfig, settings.context)
    with ThreadPoolExecutor() as pool:
        identity = pool.submit(cluster.identity)
        nodes = pool.submit(cluster.nodes)
        daemon_sets = pool.submit(cluster.daemon_sets)
    return Observation(loaded, cluster, identity.result(), nodes.result(), daemon_sets.result(), Images())
