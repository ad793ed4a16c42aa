"""Guards against an ordered upgrade that unloads where the old version is still asked for, or never ends."""

from builders import WORKER, module, node

from kmm.kept_versions import kept_kernel_labels, kept_versions, kept_workload
from kmm.names import (
    INSTANCE_LABEL,
    KERNEL_LABEL,
    MODULE_NAME_LABEL,
    ROLE_DEVICE_PLUGIN,
    ROLE_LABEL,
    ROLE_MODULE_LOADER,
    version_label,
)
from kmm.workloads import DaemonSet

KERNEL = "5.14.0-70.el9.x86_64"
LABEL = version_label("default", "kmod")
OWNER = "kmm-1"
NEW = module(container={"version": "2"})


def daemon_set(name, *, version="1", role=ROLE_MODULE_LOADER, owner=OWNER):
    labels = {MODULE_NAME_LABEL: "kmod", ROLE_LABEL: role, INSTANCE_LABEL: owner, LABEL: version}
    selector = WORKER | {LABEL: version}
    if role == ROLE_MODULE_LOADER:
        labels[KERNEL_LABEL] = selector[KERNEL_LABEL] = KERNEL
    return DaemonSet("default", name, labels=labels, node_selector=selector)


def on_version(name, version):
    return node(name, KERNEL, labels={KERNEL_LABEL: KERNEL, LABEL: version})


OLD = daemon_set("old")
OLD_PLUGIN = daemon_set("old-plugin", role=ROLE_DEVICE_PLUGIN)


def test_an_old_version_stays_while_a_node_asks_for_it():
    live = [OLD, OLD_PLUGIN, daemon_set("new", version="2")]
    assert kept_versions([NEW], live, [on_version("a", "1"), on_version("b", "2")], OWNER) == (OLD, OLD_PLUGIN)


def test_an_old_version_goes_with_the_last_node_that_asks_for_it():
    assert kept_versions([NEW], [OLD, OLD_PLUGIN], [on_version("b", "2")], OWNER) == ()


def test_nothing_is_kept_of_another_stack_or_of_a_module_that_is_gone_or_has_no_version():
    nodes = [on_version("a", "1")]
    assert kept_versions([NEW], [daemon_set("theirs", owner="kmm-2")], nodes, OWNER) == ()
    assert kept_versions([], [OLD], nodes, OWNER) == ()
    assert kept_versions([module()], [OLD], nodes, OWNER) == ()


def test_a_kept_loader_keeps_its_nodes_their_kernel_label():
    nodes = [on_version("a", "1"), on_version("b", "2")]
    assert kept_kernel_labels([OLD, OLD_PLUGIN], nodes) == {"a": {KERNEL_LABEL: KERNEL}}


def test_a_node_that_rebooted_into_another_kernel_loses_the_label_of_the_old_one():
    rebooted = node("a", "6.1.0", labels={KERNEL_LABEL: KERNEL, LABEL: "1"})
    assert kept_kernel_labels([OLD], [rebooted]) == {}


def test_kept_workloads_are_awaited_where_their_version_is_asked_for():
    nodes = [on_version("a", "1"), on_version("b", "2")]
    assert kept_workload(OLD, [OLD, OLD_PLUGIN], nodes).nodes == ("a",)
    assert kept_workload(OLD_PLUGIN, [OLD, OLD_PLUGIN], nodes).nodes == ("a",)
