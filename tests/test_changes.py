"""Guards against an unload that nobody was told of, and against warnings of unloads that will not be."""

from dataclasses import replace

import pytest
from builders import WORKER, live, module, node

from kmm.changes import Change, Kind, loader_changes
from kmm.manifests import module_manifests
from kmm.names import KERNEL_LABEL, ROLE_DEVICE_PLUGIN, ROLE_LABEL
from kmm.plan import Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
OWNER = "kmm-1"


def labelled(name, kernel=KERNEL):
    return node(name, kernel, labels={KERNEL_LABEL: kernel})


def loaders(*modules, nodes):
    plan = make_plan(modules, nodes, Images())
    return [kernel.loader for one in plan.modules for kernel in module_manifests(one).kernels]


def described(changes):
    return [(change.kind, change.kernel, change.nodes) for change in changes]


NODES = [labelled("a"), labelled("b"), labelled("c", "6.1.0")]


def test_what_runs_as_declared_is_no_change():
    declared = loaders(module(), nodes=NODES)
    assert loader_changes(declared, list(map(live, declared)), NODES, OWNER) == ()


def test_a_new_kernel_unloads_nothing():
    declared = loaders(module(), nodes=NODES)
    found = loader_changes(declared, [live(declared[0])], NODES, OWNER)
    assert [(change.kind, change.kernel) for change in found] == [(Kind.LOAD, "6.1.0")]


def test_a_changed_template_reloads_where_its_loader_runs():
    before, after = (loaders(module(modprobe={"moduleName": "kmod", "parameters": [p]}), nodes=NODES) for p in "ab")
    found = loader_changes(after, list(map(live, before)), NODES, OWNER)
    assert described(found) == [(Kind.RELOAD, KERNEL, ("a", "b")), (Kind.RELOAD, "6.1.0", ("c",))]


def test_a_kernel_that_is_gone_unloads_where_its_label_still_is():
    before, after = loaders(module(), nodes=NODES), loaders(module(), nodes=NODES[:2])
    found = loader_changes(after, list(map(live, before)), NODES, OWNER)
    assert described(found) == [(Kind.UNLOAD, "6.1.0", ("c",))]


def test_a_module_that_is_gone_unloads_everywhere():
    before = loaders(module(), nodes=NODES)
    found = loader_changes([], list(map(live, before)), NODES, OWNER)
    assert described(found) == [(Kind.UNLOAD, KERNEL, ("a", "b")), (Kind.UNLOAD, "6.1.0", ("c",))]


def test_a_renamed_module_is_unloaded_under_its_old_name_and_loaded_under_the_new():
    before, after = loaders(module("old"), nodes=NODES[:2]), loaders(module("new"), nodes=NODES[:2])
    found = loader_changes(after, list(map(live, before)), NODES, OWNER)
    assert [(change.module, change.kind) for change in found] == [
        ("default/new", Kind.LOAD),
        ("default/old", Kind.UNLOAD),
    ]


@pytest.mark.parametrize("owner", ["kmm-2", ""], ids=["another stack's", "nobody's"])
def test_loaders_of_others_are_left_alone(owner):
    before = loaders(module(), nodes=NODES)
    assert loader_changes([], [live(one, owner) for one in before], NODES, OWNER) == ()


def test_device_plugins_unload_nothing():
    (before,) = loaders(module(), nodes=NODES[:1])
    plugin = live(before)
    plugin = replace(plugin, labels=dict(plugin.labels) | {ROLE_LABEL: ROLE_DEVICE_PLUGIN})
    assert loader_changes([], [plugin], NODES, OWNER) == ()


def test_nodes_without_the_selector_s_labels_are_not_named():
    (before,) = loaders(module(), nodes=NODES[:1])
    unselected = replace(NODES[1], labels={key: value for key, value in NODES[1].labels.items() if key not in WORKER})
    found = loader_changes([], [live(before)], [NODES[0], unselected], OWNER)
    assert found[0].nodes == ("a",)


def test_a_loader_that_does_not_unload_says_that_the_module_stays():
    (before,) = loaders(module(), nodes=NODES[:1])
    (gone,) = loader_changes([], [live(before, unloads=False)], NODES, OWNER)
    assert "stays in the kernel" in str(gone)
    assert "unloaded" not in str(gone)


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        (Kind.RELOAD, 2, "unloaded and loaded again, because its loader changes, for kernel 5.14 on nodes n0, n1"),
        (Kind.UNLOAD, 12, "is unloaded for kernel 5.14 on nodes n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more"),
        (Kind.UNLOAD, 0, "on no node"),
    ],
)
def test_a_change_names_the_module_the_kernel_and_the_nodes(kind, count, words):
    change = Change("default/kmod", "5.14", kind, "kmod-1", tuple(f"n{number}" for number in range(count)))
    assert str(change).startswith("default/kmod ")
    assert words in str(change)
