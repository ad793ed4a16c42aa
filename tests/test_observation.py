"""Guards against a loader that comes beside one which still unloads, and against waiting for pods of anybody else."""

import pytest

from kmm.observation import observe_departing
from kmm.workloads import DaemonSet, Pod

COMING = {"a": {"default/kmod"}}
LIVE = [DaemonSet("default", "third")]


class Pods:
    """A cluster with one pod; nobody may ask for more than what matters."""

    def __init__(self, pod):
        self._pod = pod

    def pods(self, _role, nodes):
        assert set(nodes) == {"a"}
        return [self._pod]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"module": "default/kmod", "daemon_set": "third"}, True),
        ({"module": "default/former-name", "daemon_set": "gone"}, True),
        ({"module": "default/third", "daemon_set": "third"}, False),
        ({"module": "default/kmod", "daemon_set": "gone", "deleting": False}, False),
        ({"module": "default/kmod", "daemon_set": "gone", "phase": "Failed"}, False),
    ],
    ids=["the same Module", "renamed", "another Module", "stays", "held by a finalizer only"],
)
def test_pods_that_still_unload_where_a_loader_comes_count(fields, counts):
    pod = Pod(**{"namespace": "default", "name": "pod", "node": "a", "deleting": True, "phase": "Running"} | fields)
    found = observe_departing(Pods(pod), COMING, LIVE)
    assert found == ({"default/pod": pod.owner} if counts else {})


def test_nobody_is_asked_when_nothing_comes():
    assert observe_departing(None, {}, LIVE) == {}
