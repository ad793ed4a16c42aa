"""Guards against pulling a module, or the label its loader hangs on, from under a pod that still needs it.

Pods end only when the test says so, as those of a real node do while a module is in use.
"""

import time

import pytest

from kmm.names import ROLE_DEVICE_PLUGIN, UNLOAD_POLICY_ANNOTATION
from tests.engine.deployment import DESTROY, KERNEL, NEXT_KERNEL, UP, eventually, finish, read_until, running
from tools.stack import kill


@pytest.fixture
def loaded(deployment, kubelet):
    """A Module with a device plugin, deployed and Ready on a node; returns the node's name."""
    deployment.write(plugin=True)
    (node,) = kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        kubelet.run(eventually(deployment.pods)[0])
        kubelet.run(eventually(lambda: deployment.pods(ROLE_DEVICE_PLUGIN))[0])
        finish(up)
    return node


def ending(pods):
    """The only pod, if it was told to end."""
    (pod,) = pods
    return pod if "deletionTimestamp" in pod["metadata"] else None


def stays_so(look, seconds=3):
    """Whether something is true now and some time later."""
    return look() and (time.sleep(seconds) or look())


@pytest.mark.parametrize("how", ["destroy", "remove the Module"])
def test_the_device_plugin_goes_first_and_the_kernel_label_last(deployment, kubelet, loaded, how):
    if how == "remove the Module":
        deployment.write("other", selector={"kmm.test/name": "none"})
        deployment.remove()
    with running(deployment.stack, *(DESTROY if how == "destroy" else UP)) as going:
        plugin = eventually(lambda: ending(deployment.pods(ROLE_DEVICE_PLUGIN)))
        assert stays_so(lambda: not ending(deployment.pods())), "unloaded while the device plugin ran"
        kubelet.end(plugin)

        loader = eventually(lambda: ending(deployment.pods()))
        assert stays_so(lambda: deployment.labels(loaded).get("kernel-version.full") == KERNEL)
        assert going.poll() is None, "did not wait for the module to be unloaded"
        kubelet.end(loader)
        finish(going)
    assert deployment.labels(loaded) == {}


def test_a_loader_changes_only_after_the_device_plugin_has_left_the_node(deployment, kubelet, loaded):
    deployment.write(plugin=True, modprobe={"parameters": ["debug=1"]})
    with running(deployment.stack, *UP) as up:
        plugin = eventually(lambda: ending(deployment.pods(ROLE_DEVICE_PLUGIN)))
        assert stays_so(lambda: not ending(deployment.pods())), "reloaded while the device plugin ran"
        kubelet.end(plugin)

        loader = eventually(lambda: ending(deployment.pods()))
        assert stays_so(lambda: len(deployment.pods()) == 1), "loaded anew beside the pod that is to unload"
        kubelet.end(loader)
        kubelet.run(eventually(lambda: [pod for pod in deployment.pods() if pod["metadata"]["uid"] != uid(loader)])[0])
        kubelet.run(eventually(lambda: deployment.pods(ROLE_DEVICE_PLUGIN))[0])
        finish(up)
    assert deployment.ready_label() in deployment.labels(loaded)


def test_where_nothing_is_unloaded_each_node_keeps_label_and_device_plugin_until_its_pod_changes(deployment, kubelet):
    never = {"plugin": True, "annotations": {UNLOAD_POLICY_ANNOTATION: "Never"}}
    deployment.write(**never)
    nodes = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        for pod in eventually(lambda: len(found := deployment.pods()) == 2 and found):
            kubelet.run(pod)
        for pod in eventually(lambda: len(found := deployment.pods(ROLE_DEVICE_PLUGIN)) == 2 and found):
            kubelet.run(pod)
        finish(up)
    plugins = {pod["spec"]["nodeName"]: uid(pod) for pod in deployment.pods(ROLE_DEVICE_PLUGIN)}

    deployment.write(modprobe={"parameters": ["debug=1"]}, **never)
    with running(deployment.stack, *UP) as up:
        first = eventually(lambda: [pod for pod in deployment.pods() if "deletionTimestamp" in pod["metadata"]])[0]
        (later,) = set(nodes) - {first["spec"]["nodeName"]}
        eventually(lambda: deployment.ready_label() not in deployment.labels(first["spec"]["nodeName"]))
        assert deployment.ready_label() in deployment.labels(later)
        kubelet.end(first)
        kill(up)
    assert plugins[later] in {uid(pod) for pod in deployment.pods(ROLE_DEVICE_PLUGIN)}


@pytest.fixture
def renamed(deployment, kubelet):
    """A Module that was deployed under its old name, and is Ready on a node; returns the node's name."""
    deployment.write("old")
    (node,) = kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        kubelet.run(eventually(deployment.pods)[0])
        finish(up)
    deployment.remove("old")
    deployment.write("new")
    return node


def test_a_renamed_module_is_unloaded_before_it_is_loaded_under_its_new_name(deployment, kubelet, renamed):
    with running(deployment.stack, *UP) as up:
        old = eventually(lambda: ending(deployment.pods()))
        assert stays_so(lambda: len(deployment.pods()) == 1), "loaded anew beside the pod that is to unload"
        kubelet.end(old)
        kubelet.run(eventually(lambda: [pod for pod in deployment.pods() if pod["metadata"]["uid"] != uid(old)])[0])
        finish(up)
    assert deployment.labels(renamed).keys() == {"kernel-version.full", deployment.ready_label("new")}


def test_a_renamed_module_is_waited_for_too_where_the_run_that_ended_its_pod_was_killed(deployment, kubelet, renamed):
    with running(deployment.stack, *UP) as up:
        old = eventually(lambda: ending(deployment.pods()))
        kill(up)
    deployment.stack.cancel().expect()
    with running(deployment.stack, *UP) as up:
        read_until(up, "waiting for 1 loader pods that were told to end before")
        assert stays_so(lambda: len(deployment.pods()) == 1), "loaded anew beside the pod that is to unload"
        kubelet.say_at_the_end(old, "unload failed: modprobe: FATAL: Module old is in use.", phase="Failed")
        kubelet.run(eventually(lambda: [pod for pod in deployment.pods() if pod["metadata"]["uid"] != uid(old)])[0])
        kubelet.end(old)  # its volumes are gone
        assert f"{renamed}: {old['metadata']['namespace']}/{old['metadata']['name']}: unload failed" in finish(up, 1)
    assert deployment.ready_label("new") in deployment.labels(renamed)


def uid(one):
    """The object's uid."""
    return one["metadata"]["uid"]


def only_on(node, pods):
    """The only one of these pods that is on the node; None if it was not told to end."""
    return ending([pod for pod in pods if pod["spec"].get("nodeName") == node])


def test_a_node_that_the_selector_takes_no_more_is_unloaded_after_its_device_plugin_has_left(
    deployment, kubelet, loaded
):
    (stays,) = deployment.nodes.add(KERNEL, labels={"zone": "a"})
    deployment.stack.up().expect()
    deployment.write(plugin=True, selector=deployment.nodes.selector | {"zone": "a"})
    preview = deployment.stack.preview().expect().output
    assert f"{deployment.namespace}/kmod is unloaded for kernel {KERNEL} on nodes {loaded}" in preview
    with running(deployment.stack, *UP) as up:
        plugin = eventually(lambda: only_on(loaded, deployment.pods(ROLE_DEVICE_PLUGIN)))
        assert stays_so(lambda: not only_on(loaded, deployment.pods())), "unloaded while the device plugin ran"
        kubelet.end(plugin)
        kubelet.end(eventually(lambda: only_on(loaded, deployment.pods())))
        finish(up)
    assert deployment.labels(loaded) == {}
    assert deployment.ready_label() in deployment.labels(stays)
    deployment.stack.preview("--expect-no-changes").expect()


def test_a_node_that_booted_another_kernel_gets_its_loader_when_the_former_one_has_ended(deployment, kubelet, loaded):
    (stays,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    before = deployment.labels(stays)
    deployment.cluster.nodes.set_kernel(loaded, NEXT_KERNEL)
    with running(deployment.stack, *UP) as up:
        kubelet.end(eventually(lambda: only_on(loaded, deployment.pods(ROLE_DEVICE_PLUGIN))))
        former = eventually(lambda: only_on(loaded, deployment.pods()))
        assert stays_so(lambda: only_on(loaded, deployment.pods())), "loaded anew beside the pod that is to unload"
        kubelet.end(former)
        others = {uid(former), *(uid(pod) for pod in deployment.pods() if pod["spec"].get("nodeName") == stays)}
        kubelet.run(eventually(lambda: [pod for pod in deployment.pods() if uid(pod) not in others])[0])
        kubelet.run(
            eventually(
                lambda: [pod for pod in deployment.pods(ROLE_DEVICE_PLUGIN) if pod["spec"].get("nodeName") == loaded]
            )[0]
        )
        finish(up)
    assert deployment.labels(loaded) == before | {"kernel-version.full": NEXT_KERNEL}
    assert deployment.labels(stays) == before
