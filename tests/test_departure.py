"""Guards against a module that stays as an earlier loader left it, and against unloading one that nobody asked to.

The order of calls matters, which a real cluster shows only as a race: the cluster here records.
"""

import pytest

from kmm.departure import await_device_plugins, release_labels, reload_stale, take_kernel_labels_off
from kmm.errors import ClusterError
from kmm.final_words import FinalWords
from kmm.modprobe_words import WAS_LOADED
from kmm.names import KERNEL_LABEL, MODULE_NAME_LABEL, ROLE_DEVICE_PLUGIN, ROLE_LABEL, ROLE_MODULE_LOADER
from kmm.nodes import Node
from kmm.rollout import Workload
from kmm.workloads import DaemonSet, Pod

LABEL = "kmm.node.kubernetes.io/default.kmod.ready"
LOADER = Workload("default/kmod", "default", "kmod", ROLE_MODULE_LOADER, "new", LABEL, ("a", "b"))


class RecordingCluster:
    """Two Ready loader pods, one with a log that says its module was there; records what is done."""

    def __init__(self, *, unloads=True, logs=None, restarts=0):
        self.done = []
        self.logs = logs or {"kmod-a": f"kmod {WAS_LOADED}: …", "kmod-b": "insmod kmod.ko"}
        self._unloads = unloads
        self._pods = {name: Pod("default", name, name[-1], "kmod", ready=True, restarts=restarts) for name in self.logs}

    def daemon_sets(self):
        labels = {MODULE_NAME_LABEL: "kmod"}
        return (
            DaemonSet("default", "kmod", labels | {ROLE_LABEL: ROLE_MODULE_LOADER}, unloads=self._unloads),
            DaemonSet("default", "plugin", labels | {ROLE_LABEL: ROLE_DEVICE_PLUGIN}),
        )

    def pods(self, role, modules=()):
        self.done.append(f"list {role}s")
        assert not modules or "default/kmod" in modules
        return tuple(self._pods.values()) if role == ROLE_MODULE_LOADER else ()

    def nodes(self):
        owners = {LABEL: frozenset({"stack.ready"})}
        return tuple(Node(name, name, labels={LABEL: ""}, label_owners=owners) for name in "ab")

    def apply_node_labels(self, changes, manager):
        self.done += [f"labels {change.node}" for change in changes]

    def log(self, pod, lines):
        if isinstance(self.logs[pod.name], Exception):
            raise self.logs[pod.name]
        return self.logs[pod.name]

    def delete_pod(self, namespace, name):
        self.done.append(f"delete {name}")
        del self._pods[name]


def test_only_the_pod_that_found_its_module_goes_after_label_and_device_plugin(capsys):
    cluster = RecordingCluster()
    reload_stale(cluster, "stack.ready", [LOADER])
    assert cluster.done == [
        "list module-loaders",
        "labels a",
        "list device-plugins",
        "delete kmod-a",
        "list module-loaders",
    ]
    assert "default/kmod is unloaded and loaded again on a: an earlier run could not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cluster", "loaders"),
    [
        pytest.param(RecordingCluster(), [], id="nothing changed"),
        pytest.param(RecordingCluster(unloads=False), [LOADER], id="unload policy Never"),
        pytest.param(RecordingCluster(restarts=1), [LOADER], id="its own module, after a restart"),
        pytest.param(RecordingCluster(logs={"kmod-b": "insmod kmod.ko"}), [LOADER], id="all were loaded anew"),
    ],
)
def test_nothing_else_is_touched(cluster, loaders):
    reload_stale(cluster, "stack.ready", loaders)
    assert not [one for one in cluster.done if not one.startswith("list")]


def test_a_log_that_cannot_be_read_is_a_warning_and_unloads_nothing(capsys):
    cluster = RecordingCluster(logs={"kmod-a": ClusterError("no route to the kubelet")})
    reload_stale(cluster, "stack.ready", [LOADER])
    assert cluster.done == ["list module-loaders"]
    assert "warning: a: the module may be as an earlier loader left it" in capsys.readouterr().err


class SharedNode:
    """A node with labels of two Modules, each with a device plugin there; records which labels managers keep."""

    OTHER = "kmm.node.kubernetes.io/default.other.ready"

    def __init__(self, *labels):
        self.kept = {}
        self.labels = labels

    def nodes(self):
        mine = frozenset({"stack.ready", "stack.ready-1a2b"})
        owners = {LABEL: mine | {"another.ready"}, self.OTHER: frozenset({"stack.ready"})}
        return (Node("a", "a", labels=dict.fromkeys(self.labels or owners, ""), label_owners=owners),)

    def apply_node_labels(self, changes, manager):
        self.kept[manager] = [dict(change.labels) for change in changes]

    def pods(self, _role, modules=()):
        return (Pod("default", "other-a", "a", "other-plugin", module="default/other"),)


def test_a_label_goes_whichever_wait_of_the_stack_put_it_on():
    """Each loader whose image was made in a run has a wait, and so a field manager, of its own in that run."""
    cluster = SharedNode()
    release_labels(cluster, "stack.ready", {"a": [LABEL]})
    assert cluster.kept == {"stack.ready": [{cluster.OTHER: ""}], "stack.ready-1a2b": [{}]}


def test_a_device_plugin_is_not_waited_for_where_its_own_module_stays(monkeypatch):
    monkeypatch.setattr("kmm.departure._GONE_WITHIN", 0)
    plugins = ["default/plugin", "default/other-plugin"]
    await_device_plugins(SharedNode(), plugins, {"a": [LABEL], "b": [SharedNode.OTHER]})
    with pytest.raises(ClusterError, match="default/other-a on a"):
        await_device_plugins(SharedNode(LABEL), plugins, {"a": [SharedNode.OTHER]})


def test_a_label_that_somebody_else_put_on_is_not_waited_for_but_named_with_the_way_out():
    """The device plugin goes by it, and would never leave."""
    with pytest.raises(ClusterError, match=rf"No module was unloaded.*\n  kubectl label nodes a {SharedNode.OTHER}-"):
        await_device_plugins(SharedNode(), ["default/other-plugin"], {"a": [SharedNode.OTHER]})


@pytest.mark.parametrize("owners", [{"stack.kernel.0"}, {"stack.kernel.0", "another.kernel.0"}])
def test_pods_are_waited_for_only_where_the_kernel_label_went(monkeypatch, owners):
    monkeypatch.setattr("kmm.departure._GONE_WITHIN", 0)

    class Labelled(SharedNode):
        def nodes(self):
            left = {} if owners == self.kept.keys() else {KERNEL_LABEL: "6.1"}
            return (Node("a", "a", labels=left, label_owners={KERNEL_LABEL: frozenset(owners)}),)

    cluster = Labelled()
    if len(owners) > 1:
        take_kernel_labels_off(cluster, "stack.kernel", ["a"], ["default/other-plugin"], FinalWords(""))
    else:
        with pytest.raises(ClusterError, match="default/other-a on a"):
            take_kernel_labels_off(cluster, "stack.kernel", ["a"], ["default/other-plugin"], FinalWords(""))
    assert cluster.kept == {"stack.kernel.0": [{}]}
