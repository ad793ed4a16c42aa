"""Guards against an audit that cries wolf, because Node Feature Discovery is late or knows nothing of a node, and
against one that stays silent where a module was left behind.
"""

from datetime import UTC, datetime, timedelta

import pytest
from builders import module, node

from kmm.audit import Evidence, Kind, disagreements
from kmm.manifests.audit import audit_rule
from kmm.names import NFD_KERNEL_LABEL, loaded_label
from kmm.nodes import Node
from kmm.plan import Images, make_plan
from kmm.workloads import DaemonSet, Pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
KERNEL = "6.1.0-18+amd64"
SEEN = {NFD_KERNEL_LABEL: "6.1.0-18_amd64"}
KMOD = loaded_label("default", "kmod")
LOADED = SEEN | {KMOD: "true"}
LOADER = DaemonSet("default", "kmod-1", labels={"kmm.node.kubernetes.io/module.name": "kmod"})


def elsewhere(name, labels, **fields):
    """A node that the Modules do not select."""
    return Node(name=name, labels=labels, kernel_version=KERNEL, **fields)


def pod(on, *, ready=True, since=LONG_AGO, deleting=False, loader=LOADER):
    return Pod(
        loader.namespace, f"{loader.name}-{on}", on, loader.name, ready=ready, ready_since=since, deleting=deleting
    )


def found(nodes, pods=(), modules=None, labels=(KMOD,), daemon_sets=(LOADER,)):
    plan = make_plan(modules or [module()], nodes, Images())
    evidence = Evidence(frozenset(labels), pods)
    return [(one.module, one.kind, one.nodes) for one in disagreements(plan, evidence, daemon_sets, nodes, NOW)]


def test_a_module_without_a_loader_is_left_behind():
    nodes = [elsewhere("a", LOADED), elsewhere("b", LOADED), elsewhere("c", SEEN)]
    assert found(nodes) == [("default/kmod", Kind.LEFT_BEHIND, ("a", "b"))]


def test_a_ready_loader_without_a_module_is_told():
    nodes = [node("a", KERNEL, labels=SEEN), node("b", KERNEL, labels=LOADED)]
    assert found(nodes, [pod("a"), pod("b")]) == [("default/kmod", Kind.NOT_LOADED, ("a",))]


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ({KMOD: "true"}, {}),
        (LOADED | {NFD_KERNEL_LABEL: "5.10.0"}, {}),
        (LOADED, {"taints": node(taints=["node.kubernetes.io/unreachable:NoSchedule"]).taints}),
    ],
    ids=["no NFD there", "NFD has not seen this kernel", "kubelet does not report"],
)
def test_of_nodes_that_nfd_knows_nothing_new_of_nothing_is_said(labels, fields):
    assert found([elsewhere("a", labels, **fields)]) == []


@pytest.mark.parametrize(
    "only",
    [
        pod("a", since=NOW - timedelta(seconds=90)),
        pod("a", since=None),
        pod("a", ready=False),
        pod("a", deleting=True),
        pod("b"),
    ],
    ids=["Ready just now", "Ready who knows when", "not Ready", "ending", "on another node"],
)
def test_a_missing_module_may_still_come(only):
    assert found([node("a", KERNEL, labels=SEEN)], [only]) == []


def test_a_module_is_not_left_behind_while_its_pod_ends():
    assert found([elsewhere("a", LOADED)], [pod("a", ready=False, deleting=True)]) == []


def test_a_module_is_not_left_behind_where_a_loader_is_to_come():
    assert found([node("a", KERNEL, labels=LOADED)]) == []


def test_a_module_is_not_left_behind_where_another_module_loads_the_same():
    other = DaemonSet("default", "other-1", labels={"kmm.node.kubernetes.io/module.name": "other"})
    modules = [module(), module("other")]
    nodes = [elsewhere("a", LOADED), elsewhere("b", LOADED)]
    loading = [pod("a", loader=other)]
    assert found(nodes, loading, modules, daemon_sets=(LOADER, other)) == [("default/kmod", Kind.LEFT_BEHIND, ("b",))]


def test_a_module_that_is_never_unloaded_is_not_left_behind():
    stays = module()
    stays = stays.model_validate(
        stays.model_dump(by_alias=True, exclude_unset=True)
        | {"metadata": {"name": "kmod", "annotations": {"kmm.sigs.x-k8s.io/unload-policy": "Never"}}}
    )
    assert found([elsewhere("a", LOADED)], modules=[stays]) == []


def test_a_module_of_the_kernels_own_may_bear_the_name():
    replaces = module(container={"inTreeModuleToRemove": "kmod"})
    nodes = [elsewhere("a", LOADED), node("b", KERNEL, labels=SEEN)]
    assert found(nodes, [pod("b")], [replaces]) == [("default/kmod", Kind.NOT_LOADED, ("b",))]


def test_modules_that_no_live_rule_is_about_are_not_judged():
    assert found([elsewhere("a", LOADED), node("b", KERNEL, labels=SEEN)], [pod("b")], labels=()) == []


def test_the_message_names_module_nodes_and_what_to_do():
    nodes = [elsewhere(f"n{number:02}", LOADED) for number in range(12)]
    plan = make_plan([module()], nodes, Images())
    (told,) = disagreements(plan, Evidence(frozenset([KMOD]), ()), (), nodes, NOW)
    assert str(told).startswith("default/kmod: on nodes n00, ")
    assert "n09 and 2 more, kmod is in the kernel" in str(told)
    assert "modprobe -r kmod" in str(told)


def test_one_rule_object_serves_all_modules_that_name_theirs():
    raw = module("raw", modprobe={"rawArgs": {"load": ["a"], "unload": ["b"]}})
    rule = audit_rule([module(modprobe={"moduleName": "my-kmod"}), raw], "kmm-1")
    assert rule["metadata"]["name"] == "kmm-1"
    (only,) = rule["spec"]["rules"]
    assert only["labels"] == {KMOD: "true"}
    (feature,) = only["matchFeatures"]
    assert feature == {"feature": "kernel.loadedmodule", "matchExpressions": {"my_kmod": {"op": "Exists"}}}
    assert audit_rule([raw], "kmm-1") is None


def test_the_label_is_one_that_nfd_lets_rules_use_and_never_too_long():
    longest = module("m" * 30, "n" * 26)  # with `.ready`, as long as a Module may be
    prefix, _, name = loaded_label(longest.metadata.namespace, longest.metadata.name).partition("/")
    assert prefix.endswith(".feature.node.kubernetes.io")
    assert len(name) <= 63
