"""Guards against a change that waits for ever for one dead node, and against replacing two pods at a time."""

from dataclasses import replace

import pytest
from builders import node

from kmm.rollout import Workload
from kmm.stalled_update import pod_to_replace
from kmm.workloads import DaemonSet, Pod

LOADER = Workload("default/kmod", "default", "kmod", "module-loader", "hash", "label", ("a", "b", "dead"))
CHANGING = DaemonSet("default", "kmod", template="2", desired=2, updated=0)
NODES = {
    "a": node("a"),
    "b": node("b"),
    "dead": node("dead", taints=["node.kubernetes.io/unreachable:NoExecute"]),
}
FORMER = Pod("default", "kmod-a", "a", "kmod", template="1", ready=True)
OTHER = replace(FORMER, name="kmod-b", node="b")
STUCK = replace(FORMER, name="kmod-dead", node="dead", deleting=True)
CURRENT = replace(FORMER, name="new-a", template="2")


def replaced(*pods, daemon_set=CHANGING, nodes=NODES):
    pod = pod_to_replace(LOADER, daemon_set, pods, nodes)
    return None if pod is None else pod.name


def test_the_next_pod_is_replaced_where_a_dead_node_holds_up_the_others():
    assert replaced(FORMER, OTHER, STUCK) == "kmod-a"
    assert replaced(OTHER, FORMER, replace(STUCK, deleting=False, ready=False)) == "kmod-a"


def test_when_one_is_ready_the_next_follows():
    assert replaced(CURRENT, OTHER, STUCK, daemon_set=replace(CHANGING, updated=1)) == "kmod-b"


def test_a_node_that_takes_no_pods_is_not_waited_for():
    nodes = NODES | {"a": node("a", taints=["gpu:NoSchedule"])}
    assert replaced(OTHER, STUCK, nodes=nodes) == "kmod-b"


def test_a_pod_whose_successor_a_taint_keeps_off_stays():
    nodes = NODES | {"a": node("a", taints=["gpu:NoSchedule"])}
    assert replaced(FORMER, OTHER, STUCK, nodes=nodes) == "kmod-b"
    assert replaced(FORMER, replace(OTHER, template="2"), STUCK, nodes=nodes) is None


def test_a_pod_that_is_to_come_to_a_cordoned_node_is_waited_for():
    assert replaced(OTHER, STUCK, nodes=NODES | {"a": node("a", cordoned=True)}) is None


@pytest.mark.parametrize(
    "pods",
    [
        (FORMER, OTHER),
        (FORMER, OTHER, replace(STUCK, deleting=False)),
        (FORMER, OTHER, replace(STUCK, daemon_set="other")),
        (replace(FORMER, deleting=True), OTHER, STUCK),
        (OTHER, STUCK),
        (replace(CURRENT, ready=False), OTHER, STUCK),
        (CURRENT, replace(OTHER, ready=False), STUCK),
    ],
    ids=[
        "no dead node",
        "the pod on the dead node counts as available",
        "another DaemonSet",
        "a pod is ending",
        "a pod is to come",
        "a pod is not Ready yet",
        "a former pod is not Ready: it goes by itself",
    ],
)
def test_no_second_pod_is_replaced_and_none_that_the_daemon_set_replaces_itself(pods):
    assert replaced(*pods) is None


@pytest.mark.parametrize(
    "daemon_set", [replace(CHANGING, observed=False), replace(CHANGING, updated=2)], ids=["not seen yet", "all done"]
)
def test_without_an_update_nothing_is_replaced(daemon_set):
    assert replaced(FORMER, OTHER, STUCK, daemon_set=daemon_set) is None
