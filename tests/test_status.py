"""Guards against a status that calls Modules ready that are not, hides why, or reads pods without need."""

import io
from dataclasses import replace
from itertools import islice

import pytest
from builders import live, module, node
from rich.console import Console

import kmm.commands.status as command
from kmm.commands.status_table import status_table
from kmm.errors import ClusterError
from kmm.manifests import module_manifests
from kmm.manifests.loader import loader_manifest
from kmm.names import (
    ROLE_DEVICE_PLUGIN,
    ROLE_MODULE_LOADER,
    version_label,
)
from kmm.plan import Images, make_plan
from kmm.rollout import State
from kmm.status import Look, needed_pods, planned_targets, running_targets, skipped_rows, status_rows
from kmm.workloads import Pod

KERNEL = "5.14.0-70.el9.x86_64"
PLUGIN = {"container": {"image": "registry.example/plugin:v1"}}


def deployed(*modules, nodes, ready=None, **changes):
    """The DaemonSets of these Modules as the cluster shows them when all pods, or `ready` of each, are Ready."""
    plan = make_plan(modules, nodes, Images())
    count = {one.module.key: sum(len(kernel.nodes) for kernel in one.kernels) for one in plan.modules}
    return [
        replace(live(manifest, template="1", **_counts(count[one.module.key] if ready is None else ready)), **changes)
        for one in plan.modules
        for manifest in module_manifests(one)
        if manifest["kind"] == "DaemonSet"
    ]


def _counts(pods):
    return dict.fromkeys(("desired", "updated", "ready"), pods)


def pod(daemon_set, node, **fields):
    return Pod(daemon_set.namespace, f"{daemon_set.name}-{node}", node, daemon_set.name, template="1", **fields)


def rows(*modules, nodes, daemon_sets=(), pods=()):
    targets = list(planned_targets(make_plan(modules, nodes, Images()), daemon_sets, nodes))
    return status_rows(targets, daemon_sets, nodes, pods)


def printed(rows):
    console = Console(file=io.StringIO(), width=200)
    console.print(status_table(rows))
    return console.file.getvalue()


def test_a_module_whose_pods_are_all_ready_is_ready_without_a_look_at_pods():
    nodes = [node("a"), node("b")]
    daemon_sets = deployed(module(devicePlugin=PLUGIN), nodes=nodes)
    targets = list(planned_targets(make_plan([module(devicePlugin=PLUGIN)], nodes, Images()), daemon_sets, nodes))
    assert needed_pods(targets, daemon_sets, nodes) == set()
    loader, plugin = status_rows(targets, daemon_sets, nodes, ())
    assert (loader.role, loader.kernel, loader.ready, loader.unready) == (ROLE_MODULE_LOADER, KERNEL, 2, ())
    assert (plugin.role, plugin.kernel, plugin.ready, plugin.unready) == (ROLE_DEVICE_PLUGIN, "", 2, ())
    assert {loader.stack, plugin.stack} == {"kmm-1"}


def test_only_pods_of_roles_that_have_not_settled_are_needed():
    nodes = [node("a")]
    own = module(devicePlugin=PLUGIN)
    targets = list(planned_targets(make_plan([own], nodes, Images()), [], nodes))
    daemon_sets = [
        replace(one, ready=0) if one.role == ROLE_DEVICE_PLUGIN else one for one in deployed(own, nodes=nodes)
    ]
    assert needed_pods(targets, daemon_sets, nodes) == {ROLE_DEVICE_PLUGIN}


def test_what_was_never_deployed_is_not_ready_and_says_what_to_do():
    (row,) = rows(module(), nodes=[node("a"), node("b")])
    assert [one.node for one in row.unready] == ["a", "b"]
    assert "pulumi up" in row.note
    assert row.stack == ""


def test_a_definition_that_changed_since_is_told_from_what_runs():
    nodes = [node("a")]
    daemon_sets = deployed(module(), nodes=nodes)
    changed = module(modprobe={"moduleName": "kmod", "parameters": ["debug=1"]})
    (row,) = rows(changed, nodes=nodes, daemon_sets=daemon_sets, pods=[pod(daemon_sets[0], "a", ready=True)])
    assert "changed" in row.note
    assert row.ready == 1


def test_an_image_that_runs_by_digest_is_no_other_definition():
    nodes = [node("a")]
    own = module()
    plan = make_plan([own], nodes, Images())
    image = f"{plan.modules[0].kernels[0].resolved.image}@sha256:{'0' * 64}"
    pinned = replace(plan.modules[0].kernels[0].resolved, pinned_image=image)
    running = live(loader_manifest(pinned), template="1", **_counts(1))
    assert [(row.note, row.ready) for row in rows(own, nodes=nodes, daemon_sets=[running])] == [("", 1)]
    other = replace(running, image=image.replace("org/kmod", "org/other"))
    assert "changed" in rows(own, nodes=nodes, daemon_sets=[other])[0].note


def test_what_is_kept_of_an_earlier_version_is_shown_too():
    label = version_label("default", "kmod")
    old, new = (module(container={"version": version}) for version in ("1", "2"))
    kernel = {"kmm.node.kubernetes.io/kernel-version.full": KERNEL}
    nodes = [node("a", labels=kernel | {label: "1"}), node("b", labels=kernel | {label: "2"})]
    daemon_sets = [*deployed(old, nodes=nodes), *deployed(new, nodes=nodes)]
    found = rows(new, nodes=nodes, daemon_sets=daemon_sets)
    assert sorted((row.version, [one.node for one in row.nodes]) for row in found) == [("1", ["a"]), ("2", ["b"])]


def test_a_pod_that_failed_gives_its_last_words_and_their_meaning():
    nodes = [node("a"), node("b")]
    (daemon_set,) = deployed(module(), nodes=nodes, ready=1)
    words = "modprobe: ERROR: could not insert 'kmod': Exec format error"
    pods = [
        pod(daemon_set, "a", ready=True),
        pod(daemon_set, "b", phase="Running", waiting="CrashLoopBackOff", exit_code=1, last_words=words, restarts=3),
    ]
    (row,) = rows(module(), nodes=nodes, daemon_sets=[daemon_set], pods=pods)
    (unready,) = row.unready
    assert (row.ready, unready.node, unready.state) == (1, "b", State.FAILED)
    assert words in unready.words
    assert "another kernel" in unready.words


def test_pods_of_another_daemonset_do_not_count():
    nodes = [node("a")]
    (daemon_set,) = deployed(module(), nodes=nodes, ready=0)
    foreign = replace(pod(daemon_set, "a", ready=True), daemon_set="other")
    (row,) = rows(module(), nodes=nodes, daemon_sets=[daemon_set], pods=[foreign])
    assert row.ready == 0


def test_nodes_that_take_no_pods_now_are_shown_but_do_not_count():
    lost = node(
        "a",
        taints=["node.kubernetes.io/unreachable:NoExecute"],
        labels={
            "kmm.node.kubernetes.io/kernel-version.full": KERNEL,
            "kmm.node.kubernetes.io/default.kmod.ready": "",
        },
    )
    (daemon_set,) = deployed(module(), nodes=[lost], ready=0)
    (row,) = rows(module(), nodes=[lost], daemon_sets=[daemon_set])
    assert (row.ready, row.unready) == (0, ())
    assert row.nodes[0].state is State.LEFT_OUT
    assert "unreachable" in row.nodes[0].words


def test_kernels_that_no_mapping_serves_are_shown_but_do_not_count():
    own = module(mappings=[{"literal": KERNEL}])
    (row,) = skipped_rows(make_plan([own], [node("a"), node("b", "4.18.0")], Images()))
    assert (row.kernel, row.ready, row.unready) == ("4.18.0", 0, ())
    assert row.nodes[0].words == "no kernel mapping matches"


def test_a_module_without_nodes_is_shown():
    (row,) = skipped_rows(make_plan([module(selector={"gpu": ""})], [node("a")], Images()))
    assert (row.module, row.kernel, row.nodes) == ("default/kmod", "", ())
    assert "no usable node" in row.note


def test_without_definitions_the_cluster_s_own_daemonsets_are_the_measure():
    kernel = {"kmm.node.kubernetes.io/kernel-version.full": KERNEL}
    nodes = [node("a", labels=kernel), node("b", labels=kernel), node("c", "6.1.0")]
    loader, plugin = deployed(module(devicePlugin=PLUGIN), nodes=nodes[:2], ready=1)
    targets = list(running_targets([loader, plugin], nodes))
    assert [(one.kernel, one.workload.nodes) for one in targets] == [(KERNEL, ("a", "b")), ("", ("a", "b"))]
    found = status_rows(targets, [loader, plugin], nodes, [pod(loader, "a", ready=True)])
    assert [(row.role, row.ready, len(row.unready)) for row in found] == [
        (ROLE_MODULE_LOADER, 1, 1),
        (ROLE_DEVICE_PLUGIN, 0, 2),
    ]
    assert [row.note for row in found] == ["", ""]


def test_loaders_come_before_the_device_plugin():
    nodes = [node("a"), node("b", "6.1.0")]
    found = rows(module("zmod"), module(devicePlugin=PLUGIN), nodes=nodes)[::-1]
    ordered = sorted(found, key=lambda row: row.order)
    assert [(row.module, row.kernel) for row in ordered] == [
        ("default/kmod", KERNEL),
        ("default/kmod", "6.1.0"),
        ("default/kmod", ""),
        ("default/zmod", KERNEL),
        ("default/zmod", "6.1.0"),
    ]


class TestTable:
    def test_nodes_that_fare_alike_share_a_line(self):
        nodes = [node(f"node-{number}") for number in range(9)]
        text = printed(rows(module(), nodes=nodes))
        assert "0/9" in text
        assert "node-0, node-1, node-2 and 6 more: no pod yet" in text

    def test_what_failed_comes_before_what_waits(self):
        nodes = [node("a"), node("z")]
        (daemon_set,) = deployed(module(), nodes=nodes, ready=0)
        pods = [pod(daemon_set, "z", phase="Pending", waiting="ImagePullBackOff")]
        text = printed(rows(module(), nodes=nodes, daemon_sets=[daemon_set], pods=pods))
        assert text.index("z: pod") < text.index("a: no pod yet")

    def test_an_empty_cluster_is_said_to_be_so(self):
        assert "no stack runs a Module" in printed([])

    def test_a_reason_is_said_once(self):
        plan = make_plan([module(mappings=[{"literal": "1"}])], [node("a")], Images())
        assert printed(list(skipped_rows(plan))).count("no kernel mapping matches") == 1


def answering(monkeypatch, *answers):
    """Lets `status` read these rows or errors, one after the other, without a pause."""
    left = iter(answers)

    def rows(*_):
        answer = next(left)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    monkeypatch.setattr(command, "_rows", rows)
    monkeypatch.setattr(command, "_PAUSE", 0)


def test_a_cluster_that_does_not_answer_for_a_moment_ends_no_watch(monkeypatch):
    answering(monkeypatch, ("before",), ClusterError("away"), ("after",))
    looks = islice(command._looks(None, None, watch=True), 3)
    assert list(looks) == [Look(("before",)), Look(("before",), "away"), Look(("after",))]


def test_a_cluster_that_does_not_answer_at_all_is_an_error(monkeypatch):
    answering(monkeypatch, ClusterError("away"))
    with pytest.raises(ClusterError, match="away"):
        next(command._looks(None, None, watch=True))


def test_a_watch_without_a_terminal_tells_each_change_and_each_problem_once(capsys):
    show = command._changes(print)
    for look in (Look((1,)), Look((1,)), Look((1,), "away"), Look((1,), "still away"), Look((1,)), Look((2,), "gone")):
        show(look)
    assert capsys.readouterr() == ("(1,)\n(2,)\n", "away\ngone\n")
