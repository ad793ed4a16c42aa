"""Guards against modules that stay in the kernel while `up` says that all is well, and against an `up` that waits
without saying why no pod comes.
"""

from kmm.cluster import connect
from kmm.final_words import final_words
from kmm.modprobe_words import WAS_LOADED
from tests.engine.deployment import KERNEL, NEXT_KERNEL, UP, eventually, finish, running

IN_USE = "unload failed: modprobe: FATAL: Module kmod is in use. (used by: other )"


def ending(deployment):
    return next((pod for pod in deployment.pods() if "deletionTimestamp" in pod["metadata"]), None)


def bound_pods(deployment, *former):
    """The loader pods that are on their nodes, without these."""
    known = {pod["metadata"]["uid"] for pod in former}
    return [pod for pod in deployment.pods() if pod["metadata"]["uid"] not in known and "nodeName" in pod["spec"]]


def test_a_changed_loader_whose_module_could_not_be_unloaded_fails_the_run_once(deployment, kubelet):
    deployment.write()
    (node,) = kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        kubelet.run(eventually(deployment.pods)[0])
        finish(up)
    cluster = connect(str(deployment.cluster.kubeconfig))
    before = cluster.pods_version()

    deployment.write(modprobe={"parameters": ["debug=1"]})
    with running(deployment.stack, *UP) as up:
        old = eventually(lambda: ending(deployment))
        kubelet.say_at_the_end(old, IN_USE)
        kubelet.end(old)
        name = old["metadata"]["name"]
        kubelet.run(eventually(lambda: [pod for pod in deployment.pods() if pod["metadata"]["name"] != name])[0])
        output = finish(up, 1)
    assert "the module of 1 pods could not be unloaded" in output
    assert f"{node}: {deployment.namespace}/{name}: {IN_USE}" in output
    assert "Something uses the module" in output
    assert deployment.ready_label() in deployment.labels(node)
    deployment.stack.up().expect()

    loader = old["metadata"]["ownerReferences"][0]["name"]
    with final_words(cluster, [f"{deployment.namespace}/{loader}"], before) as words:
        eventually(lambda: words.failed)
    assert [pod.name for pod in words.failed] == [name]
    with final_words(cluster, ["other/loader"], before) as others:
        eventually(lambda: int(others.heard) >= int(words.heard))
    assert not others.failed


def test_a_module_in_use_is_reloaded_by_the_next_run_though_that_changes_another_loader(
    deployment, kubelet, log_server
):
    deployment.write()
    deployment.write("other")
    (node,) = kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        old, other = eventually(lambda: len(found := bound_pods(deployment)) == 2 and found)
        kubelet.run(old)
        kubelet.run(other)
        finish(up)

    deployment.write(modprobe={"parameters": ["debug=1"]})
    with running(deployment.stack, *UP) as up:
        eventually(lambda: ending(deployment))
        kubelet.say_at_the_end(old, IN_USE)
        kubelet.end(old)
        (stale,) = eventually(lambda: bound_pods(deployment, old, other))
        kubelet.run(stale)
        finish(up, 1)

    log_server(stale, f"kmod {WAS_LOADED}\n")
    deployment.write("other", modprobe={"parameters": ["debug=1"]})
    with running(deployment.stack, *UP) as up:
        for _ in ("other", "kmod"):
            known = bound_pods(deployment)
            kubelet.end(eventually(lambda: ending(deployment)))
            (new,) = eventually(lambda known=known: bound_pods(deployment, *known))
            kubelet.run(new)
        output = finish(up)
    assert f"kmod is unloaded and loaded again on {node}: an earlier run could not" in output


def test_what_keeps_pods_from_coming_is_told(deployment):
    enforced = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    deployment.api.request("PATCH", f"/api/v1/namespaces/{deployment.namespace}", enforced, headers)
    deployment.write()
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:rollout"] = {"timeout": "5s"}
    output = deployment.stack.up().expect(1).output
    assert "no pod yet" in output
    assert 'violates PodSecurity "restricted:latest"' in output
    assert "pod-security.kubernetes.io/enforce=privileged" in output


def test_nodes_that_leave_or_boot_another_kernel_meanwhile_are_not_waited_for(deployment, kubelet):
    deployment.write()
    moves, goes = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        eventually(lambda: len(deployment.pods()) == 2)
        deployment.cluster.nodes.set_kernel(moves, NEXT_KERNEL)
        deployment.cluster.nodes.remove([goes])
        output = finish(up)
    assert f"{moves} among them: the node runs kernel {NEXT_KERNEL} now: run `pulumi up` again" in output
    assert f"{goes} among them: the node is gone" in output
    assert deployment.ready_label() not in deployment.labels(moves)
