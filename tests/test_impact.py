"""Guards against a plan that tells of other unloads than the preview, or of none where the preview has some."""

from dataclasses import replace

from builders import live, module, node

from kmm.changes import Kind
from kmm.commands.change_words import change_action, change_remark, unloads
from kmm.impact import plan_changes
from kmm.manifests import module_manifests
from kmm.manifests.loader import loader_manifest
from kmm.names import KERNEL_LABEL, version_label
from kmm.plan import Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
NEXT = "6.1.0"


def labelled(name, kernel=KERNEL, **labels):
    return node(name, kernel, labels={KERNEL_LABEL: kernel, **labels})


NODES = [labelled("a"), labelled("b"), labelled("c", NEXT)]


def deployed(*modules, nodes=NODES, stack="kmm-1"):
    """The loaders that a stack with these Modules runs."""
    plan = make_plan(modules, nodes, Images())
    return [live(kernel.loader, stack) for one in plan.modules for kernel in module_manifests(one).kernels]


def touched(*modules, running, nodes=NODES, **options):
    plan = make_plan(modules, nodes, Images())
    return [(one.module, one.kind, one.nodes) for one in plan_changes(plan, running, nodes, **options)]


def test_a_plan_that_is_deployed_changes_nothing():
    assert touched(module(), running=deployed(module())) == []


def test_a_first_deployment_loads_everywhere():
    assert touched(module(), running=[]) == [
        ("default/kmod", Kind.LOAD, ("a", "b")),
        ("default/kmod", Kind.LOAD, ("c",)),
    ]


def test_a_changed_module_is_unloaded_and_loaded_and_others_are_not_touched():
    running = deployed(module(), module("other"))
    assert touched(module(modprobe={"moduleName": "new"}), module("other"), running=running) == [
        ("default/kmod", Kind.RELOAD, ("a", "b")),
        ("default/kmod", Kind.RELOAD, ("c",)),
    ]


def test_a_node_that_joins_is_loaded_on_although_no_loader_changes():
    nodes = [*NODES, node("new", KERNEL)]
    assert touched(module(), running=deployed(module()), nodes=nodes) == [("default/kmod", Kind.LOAD, ("new",))]


def test_a_node_that_booted_another_kernel_moves_and_is_not_called_unloaded():
    nodes = [NODES[0], replace(NODES[1], kernel_version=NEXT), NODES[2]]
    plan = make_plan([module()], nodes, Images())
    left, loaded = plan_changes(plan, deployed(module()), nodes)
    assert [(one.kind, one.nodes) for one in (left, loaded)] == [(Kind.LEAVE, ("b",)), (Kind.LOAD, ("b",))]
    assert (change_action(left), change_remark(plan, left)) == ("none", "these nodes run another kernel now")
    assert not unloads(left)


def test_what_is_not_among_the_modules_of_the_stack_any_more_is_unloaded():
    running = deployed(module(), module("gone"), nodes=NODES[:1])
    assert touched(module(), running=running, nodes=NODES[:1]) == [("default/gone", Kind.UNLOAD, ("a",))]


def test_other_stacks_are_left_alone():
    running = [*deployed(module()), *deployed(module("theirs"), stack="kmm-2")]
    assert touched(module(), running=running) == []
    assert touched(module("mine", selector={"no": "node"}), running=running) == []


def test_a_node_is_not_unloaded_where_another_stack_keeps_its_kernel_label():
    plus = node("plus", f"{KERNEL}+", labels={KERNEL_LABEL: KERNEL})
    running = deployed(module(), nodes=NODES[:1])
    for others, found in (((), [("default/kmod", Kind.UNLOAD, ("plus",))]), (("kmm-2.kernel.0",), [])):
        owners = {KERNEL_LABEL: frozenset({"kmm-1.kernel.0", *others})}
        assert touched(module(), running=running, nodes=[NODES[0], replace(plus, label_owners=owners)]) == found


def test_a_kernel_that_no_mapping_takes_any_more_is_unloaded():
    narrowed = module(mappings=[{"literal": NEXT}])
    assert touched(narrowed, running=deployed(module())) == [("default/kmod", Kind.UNLOAD, ("a", "b"))]


def test_an_earlier_version_that_nodes_ask_for_stays():
    label = version_label("default", "kmod")
    nodes = [labelled("old", **{label: "1"}), labelled("new", **{label: "2"})]
    old, new = (module(container={"version": version}) for version in "12")
    assert touched(new, running=deployed(old, nodes=nodes), nodes=nodes) == [("default/kmod", Kind.LOAD, ("new",))]


def test_an_image_that_runs_by_digest_is_no_change_unless_it_is_known_to_go_by_tag():
    (kernel,) = make_plan([module()], NODES[:1], Images()).modules[0].kernels
    pinned = replace(kernel.resolved, pinned_image=f"{kernel.resolved.image}@sha256:{'0' * 64}")
    running = [live(loader_manifest(pinned))]
    assert touched(module(), running=running, nodes=NODES[:1]) == []
    reload = [("default/kmod", Kind.RELOAD, ("a",))]
    assert touched(module(), running=running, nodes=NODES[:1], pins_known=True) == reload
