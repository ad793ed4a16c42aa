"""Guards against a module that could not be unloaded while nobody is told, because its pod's last words came late."""

import time
from threading import Event

import pytest

from kmm import rollout_wait
from kmm.departure import remove_daemon_sets
from kmm.errors import ClusterError
from kmm.final_words import final_words
from kmm.modprobe_words import UNLOAD_FAILED
from kmm.names import MODULE_NAME_LABEL, ROLE_LABEL, ROLE_MODULE_LOADER
from kmm.resources.rollout import RolloutProvider, plain_workloads
from kmm.workload_list import PodEvent
from kmm.workloads import DaemonSet, Pod
from tests.test_rollout_wait import LOADER, LaggingCluster


class LateNews:
    """A loader whose pod goes with its DaemonSet at once; that and its last words are told a moment later."""

    POD = Pod("default", "kmod-a", "a", "kmod", module="default/kmod", last_words=f"{UNLOAD_FAILED}: in use")

    def __init__(self, pods):
        self._pods = pods
        self._deleted = Event()

    def daemon_sets(self):
        return (DaemonSet("default", "kmod", {MODULE_NAME_LABEL: "kmod", ROLE_LABEL: ROLE_MODULE_LOADER}),)

    def pods(self, _role, modules=()):
        return () if self._deleted.is_set() else self._pods

    def delete_daemon_set(self, namespace, name):
        self._deleted.set()

    def pods_version(self):
        return "1"

    def pod_events(self, _role, _since, _seconds):
        self._deleted.wait()
        time.sleep(0.2)
        yield from (PodEvent("2", pod) for pod in self._pods)
        yield PodEvent("3", None)


@pytest.mark.parametrize("pods", [[LateNews.POD], []], ids=["a pod ends", "none is there"])
def test_last_words_are_waited_for_as_long_as_some_are_to_come(monkeypatch, pods):
    monkeypatch.setattr("kmm.final_words._LAST_EVENT_WITHIN", 600)
    cluster = LateNews(pods)
    with final_words(cluster, ["default/kmod"]) as words:
        remove_daemon_sets(cluster, ["default/kmod"], words)
    assert ("a: default/kmod-a: " in words.report()) is bool(pods)


def test_where_nobody_knows_which_pods_end_they_have_a_moment_to_say_so(monkeypatch):
    monkeypatch.setattr("kmm.final_words._LAST_EVENT_WITHIN", 2)
    cluster = LateNews([LateNews.POD])
    with final_words(cluster, ["default/kmod"]) as words:
        cluster.delete_daemon_set("default", "kmod")
    assert "a: default/kmod-a: " in words.report()


class Rolling(LaggingCluster):
    """A loader that a former run changed and did not wait for: its old pod ends only now, with its module in use."""

    def pods_version(self):
        return "1"

    def pod_events(self, _role, _since, _seconds):
        yield PodEvent("2", LateNews.POD)
        yield PodEvent("3", None)


def test_a_pod_that_ends_for_the_change_of_a_former_run_is_heard(monkeypatch):
    monkeypatch.setattr(rollout_wait, "_SHORT_PAUSE", 0.05)
    cluster, provider = Rolling(counts_at=20), RolloutProvider()
    monkeypatch.setattr(provider, "connect", lambda _: cluster)
    workloads, nodes = plain_workloads([LOADER])
    props = {"manager": "stack.ready", "workloads": workloads, "nodes": nodes, "timeout": 600, "max_unready": "0"}
    props |= {"unload_report": "", "listen_from": "", "reloads": []}
    with pytest.raises(ClusterError, match="a: default/kmod-a: "):
        provider.update("stack.ready", props, props)
