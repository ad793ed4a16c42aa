"""Guards what comes after a Job: labels that nobody would take off again, a module that stays as it was before.

The run that makes an image has a wait of its own for the loader, of which nothing is in the state when it fails.
"""

from kmm.modprobe_words import WAS_LOADED
from tests.engine.deployment import DESTROY, UP, eventually, finish, read_until, running


def pods_of(deployment, module, *former, count=1):
    """The Module's loader pods but these, by node, as soon as so many are on their nodes."""
    known = {pod["metadata"]["uid"] for pod in former}

    def look():
        pods = [pod for pod in deployment.pods() if pod["metadata"]["name"].startswith(f"{module}-")]
        new = [pod for pod in pods if pod["metadata"]["uid"] not in known and "nodeName" in pod["spec"]]
        return len(new) == count and {pod["spec"]["nodeName"]: pod for pod in new}

    return eventually(look)


def end_one(deployment, kubelet, words=""):
    """End a loader pod that was told to, as soon as there is one."""
    pod = eventually(lambda: [pod for pod in deployment.pods() if "deletionTimestamp" in pod["metadata"]])[0]
    if words:
        kubelet.say_at_the_end(pod, words)
    kubelet.end(pod)


def test_labels_of_a_run_that_built_and_failed_go_when_their_pods_are_not_ready_any_more(deployment, kubelet, built):
    built.write()
    deployment.stack.config["kmm:rollout"] = {"timeout": "5s"}
    fine, slow = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        built.make()
        pods = pods_of(deployment, "kmod", count=2)
        kubelet.run(pods[fine])
        finish(up, 1)
    assert deployment.ready_label() in deployment.labels(fine)
    assert deployment.ready_label() not in deployment.labels(slow)

    kubelet.run(pods[slow])
    deployment.stack.up().expect()
    deployment.stack.preview("--expect-no-changes").expect()
    kubelet.run(pods[fine], ready=False)
    deployment.stack.up().expect(1)
    assert deployment.ready_label() not in deployment.labels(fine)
    with running(deployment.stack, *DESTROY) as gone:
        for _ in pods:
            end_one(deployment, kubelet)
        finish(gone)
    assert deployment.is_gone()


def test_what_a_run_that_built_labelled_goes_with_the_stack(deployment, kubelet, built):
    """Also when no run came after it that would have taken the labels over."""
    built.write()
    deployment.stack.config["kmm:rollout"] = {"timeout": "5s"}
    fine, _ = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        built.make()
        kubelet.run(pods_of(deployment, "kmod", count=2)[fine])
        finish(up, 1)
    with running(deployment.stack, *DESTROY) as gone:
        for _ in range(2):
            end_one(deployment, kubelet)
        finish(gone)
    assert deployment.is_gone()


def test_a_module_in_use_is_reloaded_later_though_its_image_was_built_and_another_loader_changes_then(
    deployment, kubelet, built, log_server
):
    built.write()
    built.push()
    deployment.write("other")
    (node,) = kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        old, other = (pods_of(deployment, module)[node] for module in ("kmod", "other"))
        kubelet.run(old)
        kubelet.run(other)
        finish(up)

    built.write(container={"containerImage": built.image("next")})
    with running(deployment.stack, *UP) as up:
        read_until(up, "its image is still to be made")
        built.make("next")
        read_until(up, "kmod module-loader: 0/1 nodes ready")
        end_one(deployment, kubelet, "unload failed: modprobe: FATAL: Module kmod is in use.")
        stale = pods_of(deployment, "kmod", old)[node]
        kubelet.run(stale)
        assert "could not be unloaded and is in the kernel as it was before" in finish(up, 1)

    log_server(stale, f"kmod {WAS_LOADED}\n")
    deployment.write("other", modprobe={"parameters": ["debug=1"]})
    with running(deployment.stack, *UP) as up:
        end_one(deployment, kubelet)
        kubelet.run(pods_of(deployment, "other", other)[node])
        end_one(deployment, kubelet)
        kubelet.run(pods_of(deployment, "kmod", old, stale)[node])
        output = finish(up)
    assert f"kmod is unloaded and loaded again on {node}: an earlier run could not" in output
