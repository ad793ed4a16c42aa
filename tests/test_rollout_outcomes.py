"""Guards against a wait that ends before the pods have come, or that never ends because none can."""

import json

import pytest
from builders import node

from kmm.nodes import CORDON, Taint
from kmm.rollout import State, Workload, outcomes
from kmm.workload_list import parse_daemon_sets

WORKLOAD = Workload("default/kmod", "default", "kmod-x", "module-loader", "hash", "label", ("node-1",))
GPU = {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}
DISK_PRESSURE = "node.kubernetes.io/disk-pressure:NoSchedule"


def state_without_pod(taints, tolerations):
    """The state on a node with these taints to which no pod has come yet."""
    live = {
        "metadata": {"name": "kmod-x", "namespace": "default"},
        "spec": {"template": {"spec": {"tolerations": tolerations}}},
    }
    (daemon_set,) = parse_daemon_sets(json.dumps({"items": [live]}).encode()).items
    (outcome,) = outcomes(WORKLOAD, daemon_set, [], {"node-1": node(taints=taints)})
    return outcome


@pytest.mark.parametrize(
    ("taints", "tolerations"),
    [
        pytest.param((), None, id="no taint"),
        pytest.param(("dedicated=gpu:NoSchedule",), [GPU], id="tolerated taint"),
        pytest.param(("any:NoExecute",), [{"operator": "Exists"}], id="everything tolerated"),
        pytest.param((str(CORDON),), [{"operator": "Exists"}], id="cordon tolerated"),
        pytest.param((DISK_PRESSURE,), None, id="a taint that every DaemonSet tolerates"),
    ],
)
def test_a_pod_that_will_come_is_waited_for(taints, tolerations):
    assert state_without_pod(taints, tolerations).state is State.WAITING


@pytest.mark.parametrize(
    ("taints", "named"),
    [(("dedicated=gpu:NoSchedule", "broken:NoSchedule"), Taint("broken")), ((DISK_PRESSURE, str(CORDON)), CORDON)],
    ids=["tolerated taint first", "pressure first"],
)
def test_a_node_whose_taint_keeps_the_pod_off_is_not_waited_for_and_named_with_that_taint(taints, named):
    outcome = state_without_pod(taints, [GPU])
    assert (outcome.state, outcome.words) == (State.BLOCKED, f"the node takes no pods now: taint {named}")
