"""Guards against an unload that nobody was told of, and against warnings of unloads that will not be."""

from dataclasses import replace

import pytest
from builders import WORKER, live, module, node

from kmm.changes import Change, Kind, loader_changes, losing_nodes, relabelled
from kmm.manifests import module_manifests
from kmm.names import INSTANCE_LABEL, KERNEL_LABEL, ROLE_DEVICE_PLUGIN, ROLE_LABEL, ready_label
from kmm.plan import Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
OWNER = "kmm-1"


def labelled(name, kernel=KERNEL):
    return node(name, kernel, labels={KERNEL_LABEL: kernel})


def loaders(*modules, nodes):
    plan = make_plan(modules, nodes, Images())
    return [kernel for one in plan.modules for kernel in module_manifests(one).kernels]


def manifests(declared):
    return [one.loader for one in declared]


def changes(declared, running, nodes=None, after=None):
    """What declaring these loaders changes; the nodes keep their labels unless `after` has others."""
    nodes = NODES if nodes is None else nodes
    is_ours = lambda one: one.labels.get(INSTANCE_LABEL) == OWNER  # noqa: E731
    return loader_changes(declared, running, nodes, after or nodes, is_ours)


def described(found):
    return [(change.kind, change.kernel, change.nodes) for change in found]


NODES = [labelled("a"), labelled("b"), labelled("c", "6.1.0")]


def test_what_runs_as_declared_is_no_change():
    declared = loaders(module(), nodes=NODES)
    assert changes(declared, map(live, manifests(declared))) == ()


def test_a_new_kernel_unloads_nothing():
    declared = loaders(module(), nodes=NODES)
    assert described(changes(declared, [live(declared[0].loader)])) == [(Kind.LOAD, "6.1.0", ("c",))]


def test_a_changed_template_reloads_where_its_loader_runs():
    before, after = (loaders(module(modprobe={"moduleName": "kmod", "parameters": [p]}), nodes=NODES) for p in "ab")
    found = changes(after, map(live, manifests(before)))
    assert described(found) == [(Kind.RELOAD, KERNEL, ("a", "b")), (Kind.RELOAD, "6.1.0", ("c",))]


@pytest.mark.parametrize(
    ("taint", "ready", "kind"),
    [
        ("gpu:NoSchedule", {ready_label("default", "kmod"): ""}, Kind.UNLOAD),
        ("gpu:NoSchedule", {}, None),
        ("node.kubernetes.io/unreachable:NoSchedule", {}, Kind.RELOAD),
    ],
    ids=["no pod comes again", "none was there", "one comes when the node reports again"],
)
def test_a_changed_loader_does_not_come_again_to_a_node_whose_taint_it_does_not_tolerate(taint, ready, kind):
    nodes = [node("a", KERNEL, labels={KERNEL_LABEL: KERNEL} | ready, taints=[taint]), NODES[1]]
    before, after = (loaders(module(modprobe={"moduleName": name}), nodes=[NODES[1]]) for name in "xy")
    found = changes(after, map(live, manifests(before)), nodes)
    assert {one: change.kind for change in found for one in change.nodes} == ({"a": kind} if kind else {}) | {
        "b": Kind.RELOAD
    }


def test_a_node_that_comes_is_loaded_and_no_other_touched():
    declared = loaders(module(), nodes=NODES)
    nodes = [*NODES, node("new", KERNEL)]
    found = changes(loaders(module(), nodes=nodes), map(live, manifests(declared)), nodes)
    assert described(found) == [(Kind.LOAD, KERNEL, ("new",))]


def test_a_selector_that_takes_fewer_nodes_unloads_on_the_others():
    nodes = [replace(NODES[0], labels=dict(NODES[0].labels) | {"gpu": ""}), NODES[1]]
    before, after = loaders(module(), nodes=nodes), loaders(module(selector=WORKER | {"gpu": ""}), nodes=nodes)
    found = changes(after, map(live, manifests(before)), nodes)
    assert described(found) == [(Kind.RELOAD, KERNEL, ("a",)), (Kind.UNLOAD, KERNEL, ("b",))]


def test_a_node_that_loses_its_label_is_unloaded_and_its_loader_stays_elsewhere():
    declared = loaders(module(), nodes=NODES[:1])
    after = relabelled(NODES, {"a": {KERNEL_LABEL: KERNEL}}, "kmm-1.kernel")
    assert changes(declared, map(live, manifests(declared)), NODES, after) == (), "nobody's labels are not ours to take"
    owned = [replace(one, label_owners={KERNEL_LABEL: frozenset({"kmm-1.kernel.0"})}) for one in NODES]
    after = relabelled(owned, {"a": {KERNEL_LABEL: KERNEL}}, "kmm-1.kernel")
    assert described(changes(declared, map(live, manifests(declared)), owned, after)) == [(Kind.UNLOAD, KERNEL, ("b",))]
    assert losing_nodes(owned, after) == {"b", "c"}


def test_a_label_that_others_want_too_stays():
    shared = [replace(NODES[0], label_owners={KERNEL_LABEL: frozenset({"kmm-1.kernel.0", "kmm-2.kernel.0"})})]
    assert losing_nodes(shared, relabelled(shared, {}, "kmm-1.kernel")) == set()


def test_a_node_that_runs_another_kernel_by_now_moves_and_nothing_is_unloaded_for_it():
    nodes = [NODES[0], replace(NODES[1], kernel_version="6.1.0"), NODES[2]]
    before, after = loaders(module(), nodes=NODES), loaders(module(), nodes=nodes)
    wanted = {"a": {KERNEL_LABEL: KERNEL}, "b": {KERNEL_LABEL: "6.1.0"}, "c": {KERNEL_LABEL: "6.1.0"}}
    then = relabelled(nodes, wanted)
    found = changes(after, map(live, manifests(before)), nodes, then)
    assert described(found) == [(Kind.LEAVE, KERNEL, ("b",)), (Kind.LOAD, "6.1.0", ("b",))]
    assert not any(change.disturbs for change in found)
    assert losing_nodes(nodes, then) == {"b"}


def test_a_kernel_that_is_gone_unloads_where_its_label_still_is():
    before, after = loaders(module(), nodes=NODES), loaders(module(), nodes=NODES[:2])
    assert described(changes(after, map(live, manifests(before)))) == [(Kind.UNLOAD, "6.1.0", ("c",))]


def test_a_module_that_is_gone_unloads_everywhere():
    before = loaders(module(), nodes=NODES)
    found = changes([], map(live, manifests(before)))
    assert described(found) == [(Kind.UNLOAD, KERNEL, ("a", "b")), (Kind.UNLOAD, "6.1.0", ("c",))]


def test_a_renamed_module_is_unloaded_under_its_old_name_and_loaded_under_the_new():
    before, after = loaders(module("old"), nodes=NODES[:2]), loaders(module("new"), nodes=NODES[:2])
    found = changes(after, map(live, manifests(before)), NODES[:2])
    assert [(change.module, change.kind) for change in found] == [
        ("default/new", Kind.LOAD),
        ("default/old", Kind.UNLOAD),
    ]


@pytest.mark.parametrize("owner", ["kmm-2", ""], ids=["another stack's", "nobody's"])
def test_loaders_of_others_are_left_alone(owner):
    before = loaders(module(), nodes=NODES)
    assert changes([], [live(one.loader, owner) for one in before]) == ()


def test_device_plugins_unload_nothing():
    (before,) = loaders(module(), nodes=NODES[:1])
    plugin = live(before.loader)
    plugin = replace(plugin, labels=dict(plugin.labels) | {ROLE_LABEL: ROLE_DEVICE_PLUGIN})
    assert changes([], [plugin]) == ()


def test_nodes_without_the_selector_s_labels_are_not_named():
    (before,) = loaders(module(), nodes=NODES[:1])
    unselected = replace(NODES[1], labels={key: value for key, value in NODES[1].labels.items() if key not in WORKER})
    found = changes([], [live(before.loader)], [NODES[0], unselected])
    assert found[0].nodes == ("a",)


def test_a_loader_that_does_not_unload_says_that_the_module_stays():
    (before,) = loaders(module(), nodes=NODES[:1])
    (gone,) = changes([], [live(before.loader, unloads=False)], NODES[:1])
    assert "stays in the kernel" in str(gone)
    assert "unloaded" not in str(gone)


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        (Kind.RELOAD, 2, "unloaded and loaded again, because its loader changes, for kernel 5.14 on nodes n0, n1"),
        (Kind.UNLOAD, 12, "is unloaded for kernel 5.14 on nodes n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more"),
    ],
)
def test_a_change_names_the_module_the_kernel_and_the_nodes(kind, count, words):
    change = Change("default/kmod", "5.14", kind, "kmod-1", tuple(f"n{number}" for number in range(count)))
    assert str(change).startswith("default/kmod ")
    assert words in str(change)
