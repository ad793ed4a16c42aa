"""Guards against nodes that get no module, the wrong one, or lose one by accident; and against plans that depend on
the order of their input."""

import random
from itertools import groupby

import pytest
from builders import ANY_KERNEL, BUILD, SIGN, WORKER, module, node
from hypothesis import given
from hypothesis import strategies as st

from kmm.mapping import find_mapping, version_selector
from kmm.names import KERNEL_LABEL, label_value
from kmm.plan import Action, IgnoredNode, Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
OTHER = "6.0.15-300.fc37.x86_64"
TAINT = "dedicated=infra:NoSchedule"
TOLERATION = {"key": "dedicated", "value": "infra", "effect": "NoSchedule"}


def summary(plan):
    """Kernel version to nodes, for each Module."""
    return {
        found.module.key: {kernel.version: list(kernel.nodes) for kernel in found.kernels} for found in plan.modules
    }


def plan_one(modules, nodes, images=None):
    return make_plan([modules], nodes, images or Images())


def test_nodes_are_grouped_by_kernel():
    nodes = [node("b", KERNEL), node("c", OTHER), node("a", KERNEL)]
    assert summary(plan_one(module(), nodes)) == {"default/kmod": {KERNEL: ["a", "b"], OTHER: ["c"]}}


def test_a_module_that_no_node_runs_has_no_kernels():
    plan = plan_one(module(selector={"gpu": "yes"}), [node("a")])
    assert summary(plan) == {"default/kmod": {}}
    assert plan.ignored == (IgnoredNode("a", "no Module selects it"),)
    assert plan.kernel_labels() == {}


def test_a_version_takes_only_nodes_that_carry_it():
    versioned = module(container={"version": "v2"})
    nodes = [node("new", labels=version_selector(versioned)), node("old")]
    plan = plan_one(versioned, nodes)
    assert summary(plan) == {"default/kmod": {KERNEL: ["new"]}}
    assert plan.ignored == (IgnoredNode("old", "label kmm.node.kubernetes.io/version-module.default.kmod is not v2"),)


def test_a_versions_loaders_are_there_before_a_node_moves_to_it():
    plan = plan_one(module(container={"version": "v2"}), [node("old")])
    (kernel,) = plan.modules[0].kernels
    assert (kernel.version, kernel.nodes, kernel.actions) == (KERNEL, (), (Action.LOAD,))


def test_a_kernel_that_no_mapping_takes_is_in_the_plan_with_the_reason():
    plan = plan_one(module(mappings=[{"literal": OTHER}]), [node("a", KERNEL), node("b", OTHER)])
    skipped, loaded = plan.modules[0].kernels
    assert (skipped.nodes, skipped.actions, skipped.reason) == (("a",), (), "no kernel mapping matches")
    assert (loaded.nodes, loaded.actions, loaded.reason) == (("b",), (Action.LOAD,), None)
    assert set(plan.kernel_labels()) == {"b"}


def test_a_kernel_that_a_template_cannot_be_made_of_is_in_the_plan_with_the_reason():
    plan = plan_one(module(container={"containerImage": "r.example/kmod:$KERNEL_XYZ"}), [node("a", "custom")])
    (kernel,) = plan.modules[0].kernels
    assert kernel.resolved is None
    assert "no value for ${KERNEL_XYZ}" in kernel.reason


IMAGE = f"registry.example/org/kmod:{KERNEL}"
UNSIGNED = f"{IMAGE}-default_kmod_kmm_unsigned"
BOTH = {"build": BUILD, "sign": SIGN}


@pytest.mark.parametrize(
    ("container", "digests", "actions"),
    [
        ({}, {IMAGE: None}, ["load"]),
        ({"build": BUILD}, {IMAGE: "sha256:1"}, ["load"]),
        ({"build": BUILD}, {IMAGE: None}, ["build", "load"]),
        ({"sign": SIGN | {"unsignedImage": "r.example/raw:1"}}, {IMAGE: None}, ["sign", "load"]),
        (BOTH, {IMAGE: "sha256:1"}, ["load"]),
        (BOTH, {IMAGE: "sha256:1", UNSIGNED: None}, ["load"]),
        (BOTH, {IMAGE: None}, ["build", "sign", "load"]),
        (BOTH, {IMAGE: None, UNSIGNED: None}, ["build", "sign", "load"]),
        (BOTH, {IMAGE: None, UNSIGNED: "sha256:2"}, ["sign", "load"]),
    ],
)
def test_actions_make_what_is_absent(container, digests, actions):
    (kernel,) = plan_one(module(container=container), [node()], Images(digests)).modules[0].kernels
    assert list(kernel.actions) == actions


BY_DIGEST = f"r.example/kmod@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "container",
    [
        {"sign": SIGN},
        {"sign": SIGN | {"unsignedImage": IMAGE}},
        {"containerImage": BY_DIGEST, "build": BUILD},
        {"containerImage": BY_DIGEST, **BOTH},
    ],
    ids=["nothing to sign", "signed from itself", "built by digest", "signed by digest"],
)
def test_a_loader_stays_where_no_job_can_make_its_image(container):
    images = Images({IMAGE: None, BY_DIGEST: None})
    (kernel,) = plan_one(module(container=container), [node()], images).modules[0].kernels
    assert kernel.actions == (Action.LOAD,)


@pytest.mark.parametrize(("present", "actions"), [(True, ["load"]), (False, ["build", "sign", "load"])])
def test_images_nobody_asked_for_are_as_assumed(present, actions):
    (kernel,) = plan_one(module(container=BOTH), [node()], Images(assume_present=present)).modules[0].kernels
    assert list(kernel.actions) == actions


KERNELS = st.sampled_from(
    [KERNEL, OTHER, "6.1.21-v8+", "6.1.21-v8", "5.10+a", "5.10_a", "5.10-A", "custom", "+", "~~", "9" * 64]
) | st.text(min_size=1, max_size=70)
LABELS = st.fixed_dictionaries({}, optional={"gpu": st.sampled_from(["", "no"]), KERNEL_LABEL: st.just(KERNEL)})
MAPPINGS = st.lists(
    st.sampled_from([ANY_KERNEL, {"literal": KERNEL}, {"regexp": "^5"}, {"regexp": "el9|fc"}, {"regexp": "^$"}]),
    min_size=1,
)


@st.composite
def clusters(draw):
    """Up to four Modules and eight nodes, of every sort that the rules speak of."""
    modules = [
        module(
            f"kmod-{number}",
            mappings=draw(MAPPINGS),
            selector=draw(st.sampled_from([WORKER, WORKER | {"gpu": ""}, {}])),
            tolerations=draw(st.sampled_from([[], [TOLERATION], [{"operator": "Exists"}]])),
            container=draw(st.sampled_from([{}, BOTH, {"containerImage": "r.example/kmod:$KERNEL_Z"}])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    nodes = [
        node(
            f"node-{number}",
            draw(KERNELS),
            labels=draw(LABELS),
            taints=draw(st.sampled_from([[], [TAINT], ["gpu:NoExecute"]])),
            cordoned=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    return modules, nodes


@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(cluster, order: random.Random):
    modules, nodes = cluster
    plan = make_plan(modules, nodes, Images())
    order.shuffle(modules)
    order.shuffle(nodes)
    assert make_plan(modules, nodes, Images()) == plan


@given(clusters())
def test_everything_is_sorted(cluster):
    plan = make_plan(*cluster, Images())
    keys = [found.module.key for found in plan.modules]
    assert keys == sorted(keys)
    assert list(plan.ignored) == sorted(plan.ignored)
    for found in plan.modules:
        versions = [kernel.version for kernel in found.kernels]
        assert versions == sorted(versions)
        assert all(list(kernel.nodes) == sorted(kernel.nodes) for kernel in found.kernels)


@given(clusters())
def test_a_node_that_counts_for_a_module_is_in_its_own_kernel_alone(cluster):
    modules, nodes = cluster
    reported = {one.name: one.kernel_version for one in nodes}
    for found in make_plan(modules, nodes, Images()).modules:
        placed = [(name, kernel.version) for kernel in found.kernels for name in kernel.nodes]
        assert len(placed) == len(dict(placed))
        assert all(reported[name] in (version, f"{version}+") for name, version in placed)
        assert all(kernel.nodes for kernel in found.kernels)


@given(clusters())
def test_a_kernel_is_loaded_from_its_first_match_or_has_a_reason(cluster):
    for found in make_plan(*cluster, Images()).modules:
        mappings = found.module.spec.module_loader.container.kernel_mappings
        for kernel in found.kernels:
            assert (kernel.resolved is None) == bool(kernel.reason) == (not kernel.actions)
            if kernel.resolved is not None:
                assert kernel.resolved.mapping == find_mapping(mappings, kernel.version)


@given(clusters())
def test_every_node_is_used_or_ignored(cluster):
    modules, nodes = cluster
    plan = make_plan(modules, nodes, Images())
    used = {name for found in plan.modules for kernel in found.kernels for name in kernel.nodes}
    assert used | {ignored.node for ignored in plan.ignored} == {one.name for one in nodes}


@given(clusters())
def test_the_loaded_kernels_of_a_module_have_label_values_of_their_own(cluster):
    plan = make_plan(*cluster, Images())
    for found in plan.modules:
        loaded = sorted(label_value(kernel.version) for kernel in found.kernels if kernel.actions)
        assert all(value and len(list(same)) == 1 for value, same in groupby(loaded))


def test_a_node_that_has_not_reported_its_kernel_is_ignored_with_the_reason():
    plan = make_plan([module()], [node("new", kernel="")], Images())
    assert [(one.node, one.reason) for one in plan.ignored] == [
        ("new", "its kubelet has not reported a kernel version yet")
    ]
