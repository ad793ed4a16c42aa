"""Guards against a node that loses its modules to a cordon, a taint or a namesake of its kernel, and against a plan
that promises pods which never come."""

from dataclasses import replace

import pytest
from builders import WORKER, module, node
from hypothesis import given
from hypothesis import strategies as st

from kmm.kernel import kernel_label_value
from kmm.manifests.loader import loader_manifest
from kmm.names import KERNEL_LABEL, ROLE_LABEL, ROLE_MODULE_LOADER, ready_label
from kmm.plan import Action, IgnoredNode, Images, make_plan
from kmm.used_nodes import LiveLoaders, live_loaders, pods_needed
from kmm.workloads import DaemonSet, Pod

KERNEL = "5.14.0-70.el9.x86_64"
OTHER = "6.0.15-300.fc37.x86_64"
LABELLED = {KERNEL_LABEL: KERNEL}
READY = {ready_label("default", "kmod"): ""}
TAINT = "dedicated=infra:NoSchedule"
TOLERATION = {"key": "dedicated", "value": "infra", "effect": "NoSchedule"}
POD = LiveLoaders(places=frozenset({("default/kmod", "a")}))
NOBODY = LiveLoaders()
HINDRANCES = {
    "cordon": {"cordoned": True},
    "cordon's taint": {"taints": ["node.kubernetes.io/unschedulable:NoSchedule"]},
    "NoSchedule": {"taints": [TAINT]},
    "NoExecute": {"taints": ["gpu:NoExecute"]},
    "unreachable": {
        "taints": ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    },
}


def summary(plan):
    """Kernel version to nodes, for each Module."""
    return {
        found.module.key: {kernel.version: list(kernel.nodes) for kernel in found.kernels} for found in plan.modules
    }


def plan_one(modules, nodes, live=NOBODY):
    return make_plan([modules], nodes, Images(), live=live)


def used(plan):
    """The nodes of the only Module."""
    return {name for kernel in plan.modules[0].kernels for name in kernel.nodes}


@pytest.mark.parametrize(
    ("keeps_off", "reason"),
    [
        ({"cordoned": True}, "unschedulable: the node is cordoned"),
        ({"taints": ["node.kubernetes.io/unschedulable:NoSchedule"]}, "unschedulable: the node is cordoned"),
        ({"taints": [TAINT]}, f"taint {TAINT} is not tolerated"),
        ({"taints": ["gpu:NoExecute"]}, "taint gpu:NoExecute is not tolerated"),
        (
            {"taints": ["node.kubernetes.io/not-ready:NoSchedule"]},
            "taint node.kubernetes.io/not-ready:NoSchedule is not tolerated",
        ),
        ({"cordoned": True, "labels": {KERNEL_LABEL: OTHER}}, "unschedulable: the node is cordoned"),
    ],
    ids=["cordon", "cordon's taint", "NoSchedule", "NoExecute", "not ready", "label of another kernel"],
)
def test_a_node_is_ignored_because_of(keeps_off, reason):
    plan = plan_one(module(), [node("a", **keeps_off)])
    assert summary(plan) == {"default/kmod": {}}
    assert plan.ignored == (IgnoredNode("a", reason),)


@pytest.mark.parametrize("hindrance", HINDRANCES.values(), ids=HINDRANCES)
@pytest.mark.parametrize(
    ("labels", "live"),
    [(LABELLED | READY, NOBODY), (LABELLED, POD)],
    ids=["was Ready there", "its pod is there"],
)
def test_a_node_keeps_the_module_that_is_there_in_spite_of(hindrance, labels, live):
    plan = plan_one(module(), [node("a", labels=labels, **hindrance)], live)
    assert used(plan) == {"a"}
    assert plan.ignored == ()


@pytest.mark.parametrize("hindrance", HINDRANCES.values(), ids=HINDRANCES)
def test_a_new_module_does_not_come_to_a_node_that_is_labelled_for_others_and_hindered_by(hindrance):
    new = module("new")
    plan = make_plan([module(), new], [node("a", labels=LABELLED | READY, **hindrance)], Images())
    assert summary(plan) == {"default/kmod": {KERNEL: ["a"]}, "default/new": {}}
    assert [one.node for one in plan.ignored] == ["a"]
    assert plan.ignored[0].reason.startswith("default/new: ")


@pytest.mark.parametrize(
    ("hindrance", "comes"),
    [
        ({"cordoned": True}, True),
        ({"taints": ["node.kubernetes.io/disk-pressure:NoSchedule"]}, True),
        (HINDRANCES["unreachable"], True),
        ({"taints": ["node.kubernetes.io/not-ready:NoSchedule"]}, True),
        ({"taints": [TAINT]}, False),
        ({"cordoned": True, "taints": [TAINT]}, False),
    ],
    ids=["cordon", "disk pressure", "unreachable", "not ready", "taint", "cordon and taint"],
)
def test_a_daemon_set_s_pods_come_to_a_labelled_node_in_spite_of(hindrance, comes):
    """Kubernetes lets the pods of every DaemonSet tolerate a cordon, and a node may report again: the plan says what
    will be. A reload that stops half-way leaves a node without pod and ready label; it must not lose its loader too."""
    nodes = [node("a", labels=LABELLED, **hindrance), node("b", labels=LABELLED)]
    assert used(plan_one(module(), nodes)) == ({"a", "b"} if comes else {"b"})
    running = LiveLoaders(releases={("default/kmod", "", KERNEL): KERNEL})
    assert used(plan_one(module(), nodes[:1], running)) == ({"a"} if comes else set())


@pytest.mark.parametrize("lacking", ["disk", "memory", "pid"])
def test_a_node_that_runs_short_of_something_is_used_as_any_other(lacking):
    """The pods of Modules start there in spite of it."""
    short = [
        node("a", labels=labels, taints=[f"node.kubernetes.io/{lacking}-pressure:NoSchedule"])
        for labels in ({}, LABELLED)
    ]
    for one in short:
        assert used(plan_one(module(), [one])) == {"a"}
    assert not pods_needed([module()], short)


def test_a_tainted_node_of_another_kernel_is_not_where_the_pod_was():
    plan = plan_one(module(), [node("a", OTHER, labels=LABELLED | READY, taints=[TAINT])], POD)
    assert used(plan) == set()


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"labels": LABELLED, "taints": [TAINT]}, True),
        ({"labels": LABELLED, "cordoned": True}, True),
        ({"labels": LABELLED}, False),
        ({"taints": [TAINT]}, False),
        ({"labels": LABELLED | READY, "taints": [TAINT]}, False),
        ({"labels": LABELLED | {"node-role.kubernetes.io/worker": "no"}, "taints": [TAINT]}, False),
    ],
    ids=["labelled and tainted", "labelled and cordoned", "not tainted", "not labelled", "was Ready", "not selected"],
)
def test_pods_are_read_only_where_nothing_else_tells(given, needed):
    assert pods_needed([module()], [node("a", **given)]) is needed
    assert not pods_needed([module(tolerations=[{"operator": "Exists"}])], [node("a", **given)])


def test_pods_and_daemon_sets_tell_where_loaders_are_and_for_which_kernel():
    pods = [
        Pod("default", "kmod-1", "a", "kmod", module="default/kmod"),
        Pod("default", "kmod-2", "b", "kmod", module="default/kmod", deleting=True),
    ]
    labels = {"kmm.node.kubernetes.io/module.name": "kmod", ROLE_LABEL: ROLE_MODULE_LOADER, KERNEL_LABEL: "6.1"}
    versioned = labels | {"kmm.node.kubernetes.io/version-module.default.kmod": "v1"}
    daemon_sets = [
        DaemonSet("default", "loader", labels, release="6.1+"),
        DaemonSet("default", "versioned", versioned, release="6.1"),
        DaemonSet("default", "plugin", {"kmm.node.kubernetes.io/module.name": "kmod"}),
    ]
    live = live_loaders(daemon_sets, pods)
    assert live.places == {("default/kmod", "a")}
    assert live.release(module(), "6.1") == "6.1+"
    assert live.release(module(container={"version": "v1"}), "6.1") == "6.1"
    assert live.release(module("other"), "6.1") is None


PLUS, PLAIN = "6.1.21-v8+", "6.1.21-v8"
SHARED = {KERNEL_LABEL: PLAIN}


def runs(release):
    """A loader of the Module that was made for this kernel."""
    return LiveLoaders(releases={("default/kmod", "", PLAIN): release})


@pytest.mark.parametrize(
    ("live", "served"),
    [(NOBODY, PLAIN), (runs(PLAIN), PLAIN), (runs(PLUS), PLUS)],
    ids=["nothing runs", "the plain one runs", "the one with a plus runs"],
)
def test_kernels_that_differ_by_a_plus_are_not_served_by_one_loader(live, served):
    """The loader mounts /lib/modules of one of them, and changing that would unload on all of its nodes."""
    nodes = [node("plus", PLUS), node("plain", PLAIN, labels=SHARED)]
    plan = plan_one(module(), nodes, live)
    left = PLUS if served == PLAIN else PLAIN
    (kernel,) = plan.modules[0].kernels
    assert (kernel.version, kernel.resolved.release) == (PLAIN, served)
    assert used(plan) == {"plain" if served == PLAIN else "plus"}
    reason = f"kernel {left}: its label value {PLAIN} is also that of kernel {served}"
    assert plan.ignored == (IgnoredNode("plus" if left == PLUS else "plain", reason),)


def test_a_node_of_the_other_kernel_that_has_the_module_keeps_it_and_its_loader_stays_as_it_is():
    nodes = [node("plus", PLUS, labels=SHARED | READY), node("plain", PLAIN, labels=SHARED | READY)]
    for live in (NOBODY, runs(PLAIN)):
        plan = plan_one(module(), nodes, live)
        assert used(plan) == {"plus", "plain"}
        assert plan.modules[0].kernels[0].resolved.release == PLAIN


def test_a_loader_s_template_does_not_follow_nodes_that_come():
    """Rule 1: whatever joins, the folder that the loader mounts stays."""
    before = plan_one(module(), [node("a", PLUS)])
    after = plan_one(module(), [node("a", PLUS, labels=SHARED), node("b", PLAIN)], runs(PLUS))
    templates = [loader_manifest(plan.modules[0].kernels[0].resolved) for plan in (before, after)]
    assert templates[0] == templates[1]


def test_a_node_that_boots_a_kernel_of_the_same_label_value_does_not_take_it_from_the_loader_that_runs():
    nodes = [node("a", "5.10+a", labels={KERNEL_LABEL: "5.10_a"}), node("b", "5.10_a", labels={KERNEL_LABEL: "5.10_a"})]
    live = LiveLoaders(releases={("default/kmod", "", "5.10_a"): "5.10+a"})
    plus, underscore = plan_one(module(), nodes, live).modules[0].kernels
    assert plus.actions == (Action.LOAD,)
    assert underscore.reason == "its label value 5.10_a is also that of kernel 5.10+a"


@pytest.mark.parametrize(
    "toleration",
    [TOLERATION, {"key": "dedicated", "operator": "Exists"}, {"operator": "Exists"}],
    ids=["equal", "exists", "all"],
)
def test_a_tolerated_taint_keeps_no_module_off(toleration):
    plan = plan_one(module(tolerations=[toleration]), [node("a", taints=[TAINT])])
    assert summary(plan) == {"default/kmod": {KERNEL: ["a"]}}


def test_a_node_that_some_modules_refuse_says_which():
    modules = [module("first"), module("second"), module("third", tolerations=[TOLERATION])]
    plan = make_plan(modules, [node("a", taints=[TAINT])], Images())
    assert summary(plan) == {"default/first": {}, "default/second": {}, "default/third": {KERNEL: ["a"]}}
    assert plan.ignored == (IgnoredNode("a", f"default/first, default/second: taint {TAINT} is not tolerated"),)


def test_two_kernels_of_one_label_value_are_not_both_loaded():
    plan = plan_one(module(), [node("a", "5.10+a"), node("b", "5.10_a")])
    plus, underscore = plan.modules[0].kernels
    assert (plus.actions, plus.reason) == ((), "its label value 5.10_a is also that of kernel 5.10_a")
    assert underscore.actions == (Action.LOAD,)
    assert plan.kernel_labels() == {"b": {KERNEL_LABEL: "5.10_a"}}


def test_a_new_node_does_not_take_the_label_value_of_a_kernel_in_use():
    plan = plan_one(module(), [node("a", "5.10+a", labels={KERNEL_LABEL: "5.10_a"}), node("b", "5.10_a")])
    plus, underscore = plan.modules[0].kernels
    assert plus.actions == (Action.LOAD,)
    assert (underscore.actions, underscore.reason) == ((), "its label value 5.10_a is also that of kernel 5.10+a")


def test_a_node_that_a_module_does_not_select_cannot_take_its_kernel_away():
    plan = plan_one(
        module(selector=WORKER | {"gpu": ""}), [node("a", "5.10+a", labels={"gpu": ""}), node("b", "5.10_a")]
    )
    assert plan.kernel_labels() == {"a": {KERNEL_LABEL: "5.10_a"}}


def test_a_kernel_without_a_label_value_is_skipped():
    (kernel,) = plan_one(module(), [node("a", "~~")]).modules[0].kernels
    assert (kernel.actions, kernel.reason) == ((), "kernel version '~~' makes no label value")


@st.composite
def clusters(draw):
    """Nodes of a few kernels, labelled, tainted and known in every way that the rules speak of, and what runs there."""
    nodes = [
        node(
            f"node-{number}",
            draw(st.sampled_from([KERNEL, OTHER, PLUS, PLAIN, "5.10+a", "5.10_a"])),
            labels=draw(
                st.fixed_dictionaries(
                    {},
                    optional={KERNEL_LABEL: st.sampled_from([KERNEL, PLAIN, "5.10_a"]), next(iter(READY)): st.just("")},
                )
            ),
            taints=draw(st.sampled_from([[], [TAINT], ["gpu:NoExecute"]])),
            cordoned=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 6)))
    ]
    releases = draw(
        st.fixed_dictionaries(
            {},
            optional={
                ("default/kmod", "", PLAIN): st.sampled_from([PLUS, PLAIN]),
                ("default/kmod", "", "5.10_a"): st.sampled_from(["5.10+a", "5.10_a"]),
            },
        )
    )
    places = draw(st.sets(st.sampled_from([one.name for one in nodes])))
    return nodes, LiveLoaders(releases, frozenset(("default/kmod", name) for name in places))


@given(clusters())
def test_no_taint_or_cordon_takes_a_module_from_a_node_that_has_it(cluster):
    nodes, live = cluster
    found = used(plan_one(module(), nodes, live))
    untainted = [replace(one, taints=(), unschedulable=False) for one in nodes]
    chosen_then = used(plan_one(module(), untainted, live))
    for one in nodes:
        labelled = one.labels.get(KERNEL_LABEL) == kernel_label_value(one.kernel_version)
        if labelled and READY.items() <= one.labels.items() and one.kernel_version not in (PLUS, PLAIN):
            assert (one.name in found) == (one.name in chosen_then)


@given(clusters())
def test_a_node_without_the_label_of_its_kernel_gets_nothing_past_a_taint_or_cordon(cluster):
    nodes, live = cluster
    found = used(plan_one(module(), nodes, live))
    for one in nodes:
        labelled = one.labels.get(KERNEL_LABEL) == kernel_label_value(one.kernel_version)
        assert labelled or not (one.taints or one.unschedulable) or one.name not in found


@given(clusters())
def test_all_nodes_of_a_loader_run_its_kernel_unless_they_were_ready_before(cluster):
    nodes, live = cluster
    by_name = {one.name: one for one in nodes}
    for kernel in plan_one(module(), nodes, live).modules[0].kernels:
        for name in kernel.nodes if kernel.resolved else ():
            one = by_name[name]
            assert one.kernel_version == kernel.resolved.release or READY.items() <= one.labels.items()
