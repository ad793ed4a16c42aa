"""Guards against a change of nodes or Modules that touches more than it must: every touched loader unloads a module."""

import json
from collections import Counter

from commands import kmm

from tests.engine.deployment import KERNEL, NEXT_KERNEL, object_steps


def identities(daemon_sets):
    """What changes when anybody writes to a DaemonSet: its uid, or the generation of its spec."""
    return {key: (one["metadata"]["uid"], one["metadata"]["generation"]) for key, one in daemon_sets.items()}


def arguments(daemon_set):
    """The loader's command."""
    return " ".join(daemon_set["spec"]["template"]["spec"]["containers"][0]["command"])


def test_a_second_up_changes_nothing_and_destroy_leaves_nothing(deployment):
    stack = deployment.stack
    deployment.write(plugin=True)
    first, second = deployment.nodes.add(KERNEL), deployment.nodes.add(NEXT_KERNEL)
    created = stack.up().expect()
    assert object_steps(created) == {("create", "ServiceAccount"): 2, ("create", "DaemonSet"): 3}
    assert list((stack.folder / "temporary").glob("kubeconfig*")), "does the provider leave them elsewhere now?"
    ready = {f"{deployment.namespace}.kmod.{what}": "" for what in ("ready", "device-plugin-ready")}
    assert deployment.labels(first[0]) == {"kernel-version.full": KERNEL} | ready
    assert deployment.labels(second[0]) == {"kernel-version.full": NEXT_KERNEL} | ready

    before = deployment.content()
    stack.preview("--refresh", "--expect-no-changes").expect()
    assert stack.cold().up().expect().changes == {}  # whose sets have another order
    assert deployment.content() == before

    stack.destroy().expect()
    assert deployment.is_gone()


def test_kernels_that_come_and_go_bring_and_take_their_daemon_set_and_nodes_alone_change_none(deployment):
    deployment.write(plugin=True)
    stays, goes = deployment.nodes.add(KERNEL, 2)
    deployment.stack.up().expect()
    before = identities(deployment.daemon_sets())

    (moves,) = deployment.nodes.add(NEXT_KERNEL)
    assert object_steps(deployment.stack.up().expect()) == {("create", "DaemonSet"): 1}
    with_both = identities(deployment.daemon_sets())
    assert with_both.keys() - before.keys() == {("kmod", NEXT_KERNEL)}
    assert with_both.items() >= before.items()
    assert deployment.ready_label() in deployment.labels(moves)

    deployment.cluster.nodes.remove([goes])
    (comes,) = deployment.nodes.add(KERNEL)
    assert not object_steps(deployment.stack.up().expect())
    assert identities(deployment.daemon_sets()) == with_both
    assert deployment.labels(comes) == deployment.labels(stays)

    deployment.cluster.nodes.set_kernel(moves, KERNEL)
    assert object_steps(deployment.stack.up().expect()) == {("delete", "DaemonSet"): 1}
    assert identities(deployment.daemon_sets()) == before
    assert deployment.labels(moves) == deployment.labels(stays)
    pods = Counter(pod["spec"]["nodeName"] for pod in deployment.pods())
    assert {node: pods[node] for node in (stays, comes, moves)} == {stays: 1, comes: 1, moves: 1}
    deployment.stack.preview("--expect-no-changes").expect()


def test_a_kernel_that_differs_by_a_plus_alone_does_not_change_the_loader_that_runs(deployment):
    deployment.write()
    deployment.nodes.add("6.1.21-v8+")
    deployment.stack.up().expect()
    before = identities(deployment.daemon_sets())
    (plain,) = deployment.nodes.add("6.1.21-v8")
    assert not object_steps(deployment.stack.up().expect())
    assert identities(deployment.daemon_sets()) == before
    assert deployment.labels(plain) == {}
    (reason,) = deployment.stack.outputs()["ignored"][plain]
    assert "is also that of kernel 6.1.21-v8+" in reason
    deployment.stack.preview("--expect-no-changes").expect()


def test_changed_parameters_roll_the_loaders_in_place_and_preview_only_names_the_nodes(deployment):
    deployment.write()
    deployment.write("other")
    nodes = deployment.nodes.add(KERNEL, 2)
    deployment.stack.up().expect()
    before, pods = identities(deployment.daemon_sets()), {pod["metadata"]["uid"] for pod in deployment.pods()}
    deployment.write(modprobe={"parameters": ["debug=1"]})

    warned = f"{deployment.namespace}/kmod is unloaded and loaded again"
    content = deployment.content()
    preview = deployment.stack.preview().expect()
    plan = kmm("plan", "--kubeconfig", deployment.cluster.kubeconfig, "--modules", deployment.folder, "-o", "json")
    assert deployment.content() == content
    assert any(warned in line and all(node in line for node in nodes) for line in preview.output.splitlines())
    changes = json.loads(plan.stdout)["changes"]
    assert [(one["name"], one["kind"], one["unloads"], one["nodes"]) for one in changes] == [
        ("kmod", "reload", True, nodes)
    ]
    assert object_steps(deployment.stack.up().expect()) == {("update", "DaemonSet"): 1}

    after = deployment.daemon_sets()
    rolled, untouched = ("kmod", KERNEL), ("other", KERNEL)
    assert identities(after)[untouched] == before[untouched]
    assert identities(after)[rolled] == (before[rolled][0], before[rolled][1] + 1)
    assert "debug=1" in arguments(after[rolled])
    assert after[rolled]["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0
    assert len({pod["metadata"]["uid"] for pod in deployment.pods()} & pods) == 2  # those of the other Module


def test_removed_and_renamed_modules_go_with_their_labels_and_touch_no_other(deployment):
    deployment.write("goes", plugin=True)
    deployment.write("stays", plugin=True)
    deployment.write("old")
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    before = identities(deployment.daemon_sets())
    deployment.remove("goes")
    deployment.remove("old")
    deployment.write("new")
    assert object_steps(deployment.stack.up().expect()) == {
        ("delete", "DaemonSet"): 3,
        ("delete", "ServiceAccount"): 3,
        ("create", "DaemonSet"): 1,
        ("create", "ServiceAccount"): 1,
    }
    after = identities(deployment.daemon_sets())
    assert after.pop(("new", KERNEL))
    assert after == {key: one for key, one in before.items() if key[0] == "stays"}
    ready = ("stays.ready", "stays.device-plugin-ready", "new.ready")
    assert deployment.labels(node) == {
        "kernel-version.full": KERNEL,
        **{f"{deployment.namespace}.{key}": "" for key in ready},
    }
    deployment.stack.preview("--expect-no-changes").expect()


def test_labels_changed_by_hand_are_mended_by_the_next_up_and_a_deleted_daemon_set_by_a_refresh(deployment):
    deployment.write()
    nodes = deployment.nodes.add(KERNEL, 2)
    deployment.stack.up().expect()
    before = [deployment.labels(node) for node in nodes]
    ready = f"kmm.node.kubernetes.io/{deployment.ready_label()}"
    deployment.cluster.nodes.patch(nodes[0], {"metadata": {"labels": {ready: None}}})
    deployment.cluster.nodes.patch(
        nodes[1], {"metadata": {"labels": {"kmm.node.kubernetes.io/kernel-version.full": "by-hand"}}}
    )
    deployment.stack.preview("--expect-no-changes").expect(7)
    assert not object_steps(deployment.stack.up().expect())
    assert [deployment.labels(node) for node in nodes] == before
    deployment.stack.preview("--expect-no-changes").expect()

    name = deployment.daemon_sets()["kmod", KERNEL]["metadata"]["name"]
    deployment.api.request("DELETE", f"/apis/apps/v1/namespaces/{deployment.namespace}/daemonsets/{name}")
    assert f"DaemonSet {deployment.namespace}/{name} is not there" in deployment.stack.up().expect(1).output
    deployment.stack.up("--refresh").expect()
    assert set(deployment.daemon_sets()) == {("kmod", KERNEL)}
    deployment.stack.preview("--refresh", "--expect-no-changes").expect()
