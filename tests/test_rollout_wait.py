"""Guards against a run that ends while the DaemonSets' counts lag behind their pods: the next would find work to do.

And against one that gives a pod up which fails once, or waits to the time limit for one that always does.
"""

import time
from dataclasses import replace

import pytest
from builders import node

from kmm import rollout_wait
from kmm.errors import ClusterError
from kmm.names import ROLE_MODULE_LOADER
from kmm.rollout import Workload, allowed_unready
from kmm.rollout_wait import Patience, RolloutWait
from kmm.workloads import DaemonSet, Pod

LABEL = "kmm.node.kubernetes.io/default.kmod.ready"
LOADER = Workload("default/kmod", "default", "kmod", ROLE_MODULE_LOADER, "hash", LABEL, ("a",))
COUNTED = DaemonSet("default", "kmod", template_hash="hash", template="3", desired=1, updated=1, ready=1)


class LaggingCluster:
    """A loader pod that is Ready, and a DaemonSet that counts it when it is looked at for the `counts_at`th time.

    At the looks `without_pod` the pod has gone, and another one has not come yet.
    """

    def __init__(self, counts_at, without_pod=(), cordoned=False):
        self.looks = 0
        self.labels = {LABEL: ""}
        self._cordoned = cordoned
        self._counts_at = counts_at
        self._without_pod = without_pod

    def nodes(self):
        owners = dict.fromkeys(self.labels, frozenset({"stack.ready"}))
        return [replace(node("a", labels=self.labels, cordoned=self._cordoned), label_owners=owners)]

    def daemon_sets(self):
        self.looks += 1
        return [COUNTED if self.looks >= self._counts_at else replace(COUNTED, ready=0)]

    def pods(self, *_roles, modules=()):
        there = self.looks not in self._without_pod
        return [Pod("default", "pod", "a", "kmod", template="3", phase="Running", ready=True)] if there else []

    def apply_node_labels(self, changes, manager):
        assert self._without_pod or not changes
        for change in changes:
            self.labels = change.labels


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch):
    monkeypatch.setattr(rollout_wait, "_SHORT_PAUSE", 0)
    monkeypatch.setattr(rollout_wait, "_PAUSE", 0)


def wait(cluster, timeout=600):
    RolloutWait(cluster, "stack.ready", [LOADER]).run(Patience(timeout, allowed_unready("0")))
    assert cluster.labels == {LABEL: ""}
    return cluster.looks


@pytest.mark.parametrize("counts_at", [1, 2, 5])
def test_it_ends_with_the_look_that_finds_all_pods_counted(counts_at):
    assert wait(LaggingCluster(counts_at)) == counts_at


def test_a_pod_that_goes_before_it_is_counted_is_waited_for_again():
    assert wait(LaggingCluster(7, without_pod=(3, 4))) == 7


def test_a_pod_on_its_way_to_a_cordoned_node_is_given_a_moment():
    assert wait(LaggingCluster(4, without_pod=(1, 2), cordoned=True)) == 4


def test_without_waiting_one_look_is_enough():
    assert wait(LaggingCluster(5), timeout=0) == 1


def test_a_count_that_never_agrees_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(rollout_wait, "_COUNTED_WITHIN", 0.05)
    assert wait(LaggingCluster(1_000_000)) > 1


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 1)


class SlowCluster(LaggingCluster):
    """One node after the other gets a Ready pod, up to `in_the_end` of `NODES`; a minute each."""

    NODES = ("a", "b", "c")

    def __init__(self, clock, in_the_end):
        super().__init__(1)
        self._clock, self._in_the_end = clock, in_the_end

    def _ready(self):
        return self.NODES[: min(self._in_the_end, int(self._clock.now // 60))]

    def nodes(self):
        return [node(name) for name in self.NODES]

    def daemon_sets(self):
        counts = {"desired": len(self.NODES), "updated": len(self.NODES), "ready": len(self._ready())}
        return [replace(COUNTED, **counts)]

    def pods(self, *_roles, modules=()):
        return [Pod("default", name, name, "kmod", template="3", ready=True) for name in self._ready()]

    def apply_node_labels(self, changes, manager):
        pass

    def last_warning(self, namespace, name):
        return ""


class ShrinkingCluster(SlowCluster):
    """The pods of the first node are not Ready any more when the second one's get so."""

    def _ready(self):
        return super()._ready()[-1:]


def test_a_node_that_is_lost_meanwhile_hides_no_progress(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rollout_wait, "time", clock)
    waiting = RolloutWait(ShrinkingCluster(clock, 3), "stack.ready", [replace(LOADER, nodes=SlowCluster.NODES)])
    with pytest.raises(ClusterError, match="on 2 of 3 nodes"):
        waiting.run(Patience(90, allowed_unready("0")))
    assert 270 <= clock.now < 275


@pytest.mark.parametrize("in_the_end", [3, 2])
def test_the_time_begins_anew_with_each_node_that_gets_ready(monkeypatch, in_the_end):
    clock = Clock()
    monkeypatch.setattr(rollout_wait, "time", clock)
    everywhere = replace(LOADER, nodes=SlowCluster.NODES)
    waiting = RolloutWait(SlowCluster(clock, in_the_end), "stack.ready", [everywhere])
    if in_the_end == 3:
        waiting.run(Patience(90, allowed_unready("0")))
        assert clock.now >= 180
    else:
        with pytest.raises(ClusterError, match="on 1 of 3 nodes"):
            waiting.run(Patience(90, allowed_unready("0")))
        assert 210 <= clock.now < 215


class StuckCluster(LaggingCluster):
    """The pod's image cannot be pulled at the looks `stuck_at`; then it is Ready."""

    def __init__(self, stuck_at):
        super().__init__(counts_at=1_000_000)
        self.labels = {}
        self._stuck_at = stuck_at

    def pods(self, *_roles, modules=()):
        stuck = self.looks in self._stuck_at
        return [replace(pod, ready=not stuck, waiting="ImagePullBackOff" if stuck else "") for pod in super().pods()]

    def apply_node_labels(self, changes, manager):
        for change in changes:
            self.labels = change.labels

    def last_warning(self, namespace, name):
        return ""


def test_a_pod_that_fails_for_a_moment_is_waited_for(monkeypatch):
    monkeypatch.setattr(rollout_wait, "_COUNTED_WITHIN", 0.05)
    assert wait(StuckCluster(stuck_at=range(1, 50))) > 50


def test_a_pod_that_stays_stuck_for_seconds_has_failed(monkeypatch):
    monkeypatch.setattr(rollout_wait, "_PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(ClusterError, match="ImagePullBackOff"):
        wait(StuckCluster(stuck_at=range(1_000_000)))
    assert 0.2 <= time.monotonic() - began < 60
