"""Guards against an `up` that ends well while modules are not loaded, that fails for a node nobody can help, or that
does not say what is wrong.
"""

from tests.engine.deployment import KERNEL, UP, eventually, finish, running

REFUSED = "modprobe: ERROR: could not insert 'kmod': Exec format error"


def taint(key, effect="NoSchedule"):
    return {"key": key, "effect": effect}


def pods_on(deployment, node):
    """The loader pods that the scheduler has bound to a node."""
    return [pod for pod in deployment.pods() if pod["spec"].get("nodeName") == node]


def test_pods_that_cannot_get_ready_are_named_with_their_last_words_and_what_they_mean(deployment, kubelet):
    deployment.write("kmod")
    deployment.write("unpullable")
    (node,) = kubelet.add_nodes()
    (fine,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        eventually(lambda: len(pods_on(deployment, node)) == 2)
        for pod in pods_on(deployment, node):
            if pod["metadata"]["name"].startswith("kmod"):
                kubelet.crash(pod, f"insmod kmod.ko\n{REFUSED}")
            else:
                kubelet.wait_with(pod, "ImagePullBackOff", "Back-off pulling image registry.example/unpullable")
        output = finish(up, 1)
    assert f"{deployment.namespace}/kmod is not loaded as defined on 1 of 2 nodes:" in output
    assert REFUSED in output
    assert "another kernel" in output
    assert f"{deployment.namespace}/unpullable is not loaded as defined on 1 of 2 nodes:" in output
    assert "Back-off pulling image registry.example/unpullable" in output
    assert output.count(f"{node}: pod ") >= 2
    assert "Traceback" not in output
    assert deployment.labels(fine).keys() >= {deployment.ready_label("kmod"), deployment.ready_label("unpullable")}
    assert deployment.labels(node).keys() == {"kernel-version.full"}


def test_waiting_ends_at_the_timeout_and_the_next_up_goes_on(deployment, kubelet):
    deployment.write()
    deployment.stack.config["kmm:rollout"] = {"timeout": "3s"}
    (node,) = kubelet.add_nodes()
    output = deployment.stack.up().expect(1).output
    assert f"{deployment.namespace}/kmod is not loaded as defined on 1 of 1 nodes:" in output
    assert node in output
    kubelet.run(eventually(deployment.pods)[0])
    deployment.stack.up().expect()
    assert deployment.ready_label() in deployment.labels(node)
    eventually(lambda: deployment.count_ready() == 1)
    deployment.stack.preview("--expect-no-changes").expect()
    kubelet.run(deployment.pods()[0], ready=False)
    eventually(lambda: deployment.count_ready() == 0)
    output = deployment.stack.up().expect(1).output
    assert f"{deployment.namespace}/kmod is not loaded as defined on 1 of 1 nodes:" in output
    assert deployment.ready_label() not in deployment.labels(node)


def test_as_many_nodes_as_allowed_may_stay_unready(deployment, kubelet):
    deployment.write()
    (fine,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    deployment.stack.config["kmm:rollout"] = {"timeout": "3s", "maxUnready": "50%"}
    (dead,) = kubelet.add_nodes()
    deployment.stack.up().expect()
    assert deployment.ready_label() in deployment.labels(fine)
    assert deployment.ready_label() not in deployment.labels(dead)


def test_an_object_that_is_refused_withholds_no_other_module_s_label(deployment):
    accounts, account = f"/api/v1/namespaces/{deployment.namespace}/serviceaccounts", "refused-module-loader"
    deployment.api.request("POST", accounts, {"metadata": {"name": account}})
    for name in ("kmod", "refused"):
        deployment.write(name, plugin=True)
    (node,) = deployment.nodes.add(KERNEL)
    output = deployment.stack.up().expect(1).output
    assert f'serviceaccounts "{account}" already exists' in output
    assert f"{deployment.namespace}/refused is not loaded as defined on 1 of 1 nodes:" in output
    assert "is not there. If it could not be made, another error of this run says why" in output
    ready = {f"{deployment.namespace}.kmod.{what}" for what in ("ready", "device-plugin-ready")}
    assert deployment.labels(node).keys() == {"kernel-version.full"} | ready

    deployment.api.request("DELETE", f"{accounts}/{account}")
    deployment.stack.up().expect()
    assert deployment.ready_label("refused") in deployment.labels(node)
    deployment.stack.preview("--expect-no-changes").expect()


def test_without_waiting_up_labels_what_is_ready_and_ends(deployment, kubelet):
    deployment.write()
    deployment.stack.config["kmm:rollout"] = {"wait": False}
    (node,) = kubelet.add_nodes()
    deployment.stack.up(timeout=60).expect()
    assert {key for key, _ in deployment.daemon_sets()} == {"kmod"}
    # Its pod is there without being Ready yet: a taint must not take it away.
    deployment.cluster.nodes.patch(node, {"spec": {"taints": [taint("gpu")]}})
    (pod,) = eventually(deployment.pods)
    deployment.stack.up(timeout=60).expect()
    assert deployment.labels(node).keys() == {"kernel-version.full"}
    assert [one["metadata"]["uid"] for one in deployment.pods()] == [pod["metadata"]["uid"]]


def test_a_node_that_does_not_report_is_not_waited_for(deployment, kubelet):
    deployment.write()
    (dead,) = kubelet.add_nodes()
    (fine,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        eventually(lambda: len(deployment.pods()) == 2)
        kubelet.fall_silent(dead)
        finish(up)
    assert deployment.ready_label() in deployment.labels(fine)
    assert deployment.ready_label() not in deployment.labels(dead)


def test_a_node_that_does_not_report_holds_up_neither_a_change_nor_a_removal(deployment, kubelet):
    deployment.write()
    deployment.write("other", selector={"kmm.test/name": "none"})
    deployment.stack.config["kmm:rollout"] = {"timeout": "60s"}
    (dead,) = kubelet.add_nodes()
    fine = deployment.nodes.add(KERNEL, 2)
    with running(deployment.stack, *UP) as up:
        pod = eventually(lambda: [pod for pod in deployment.pods() if pod["spec"].get("nodeName") == dead])[0]
        kubelet.run(pod)
        finish(up)
    kubelet.fall_silent(dead)
    kubelet.run(pod, ready=False)
    deployment.write(modprobe={"parameters": ["debug=1"]})
    deployment.stack.up().expect()
    changed = [one for one in deployment.pods() if "debug=1" in str(one["spec"]["containers"][0]["command"])]
    assert [one["spec"]["nodeName"] for one in changed] == sorted(fine)
    assert all(deployment.ready_label() in deployment.labels(node) for node in fine)

    deployment.remove()
    deployment.stack.up(timeout=90).expect()
    assert not deployment.daemon_sets()
    assert [one["metadata"]["uid"] for one in deployment.pods()] == [pod["metadata"]["uid"]]
    kubelet.end(pod)


def test_nodes_that_take_no_pods_keep_what_they_have_and_new_ones_are_ignored_with_the_reason(deployment):
    deployment.write()
    stays, cordoned, tainted = deployment.nodes.add(KERNEL, 3)
    deployment.stack.up().expect()
    labels = {node: deployment.labels(node) for node in (stays, cordoned, tainted)}
    deployment.cluster.nodes.patch(cordoned, {"spec": {"unschedulable": True}})
    deployment.cluster.nodes.patch(tainted, {"spec": {"taints": [taint("gpu")]}})
    deployment.stack.preview("--expect-no-changes").expect()
    (ignored,) = deployment.nodes.add(KERNEL, unschedulable=True)
    deployment.stack.up().expect()
    assert {node: deployment.labels(node) for node in labels} == labels
    assert len(deployment.pods()) == 3
    assert deployment.labels(ignored) == {}
    assert "unschedulable" in str(deployment.stack.outputs()["ignored"][ignored])

    deployment.write("new")
    deployment.stack.up().expect()
    assert deployment.stack.outputs()["ignored"][tainted] == [
        f"{deployment.namespace}/new: taint gpu:NoSchedule is not tolerated"
    ]
    of_new = {pod["spec"]["nodeName"] for pod in deployment.pods() if pod["metadata"]["name"].startswith("new-")}
    assert of_new == {stays, cordoned}
    old = deployment.daemon_sets()["kmod", KERNEL]["metadata"]["name"]
    path = f"/apis/apps/v1/namespaces/{deployment.namespace}/daemonsets/{old}"
    merge = {"Content-Type": "application/merge-patch+json"}
    deployment.api.request("PATCH", path, {"metadata": {"annotations": {"look": "again"}}}, merge)
    eventually(lambda: deployment.api.request("GET", path)["status"]["numberMisscheduled"] == 1)
    deployment.stack.preview("--expect-no-changes").expect()
