"""Which pod to replace where nodes that do not report hold up the update of a DaemonSet. Pure.

A DaemonSet changes one node at a time. A pod on a node that does not report is unavailable for as long, and so is the
one at a time: no other node would get the change. Then we go on in its place, one node at a time as well.
"""

from collections.abc import Iterable, Mapping

from kmm.nodes import Node, keeps_daemon_sets_off, lost
from kmm.rollout import Workload
from kmm.workloads import DaemonSet, Pod


def pod_to_replace(
    workload: Workload, daemon_set: DaemonSet, pods: Iterable[Pod], nodes: Mapping[str, Node]
) -> Pod | None:
    """The next pod of the former template; None while the DaemonSet goes on by itself, or a node is just changing.

    Where a taint keeps its successor off none goes: its module would be unloaded and not loaded again.
    """
    if not daemon_set.observed or daemon_set.updated >= daemon_set.desired:
        return None
    own = [pod for pod in pods if (pod.namespace, pod.daemon_set) == (daemon_set.namespace, daemon_set.name)]
    elsewhere = [pod for pod in own if not lost(nodes.get(pod.node))]
    held_up = any(_is_unavailable(pod) for pod in own if lost(nodes.get(pod.node)))
    changing = any(map(_is_unavailable, elsewhere)) or _misses_a_pod(workload, daemon_set, elsewhere, nodes)
    if changing or not held_up:
        return None
    former = (pod for pod in elsewhere if pod.template != daemon_set.template)
    replaceable = (pod for pod in former if _takes_pods(nodes[pod.node], daemon_set))
    return min(replaceable, key=lambda pod: pod.node, default=None)


def _is_unavailable(pod: Pod) -> bool:
    return pod.deleting or not pod.ready


def _misses_a_pod(workload: Workload, daemon_set: DaemonSet, pods: Iterable[Pod], nodes: Mapping[str, Node]) -> bool:
    """Whether a pod is still to come to some node."""
    places = {pod.node for pod in pods}
    found = (nodes.get(name) for name in workload.nodes if name not in places)
    return any(node and _takes_pods(node, daemon_set) for node in found)


def _takes_pods(node: Node, daemon_set: DaemonSet) -> bool:
    return not lost(node) and not keeps_daemon_sets_off(node, daemon_set.tolerations)
