"""Guards what comes after a Job: labels that nobody would take off again, or that somebody takes off too early.

The run that makes an image has a wait of its own for the loader, of which nothing is in the state when it fails.
"""

from tests.engine.deployment import DESTROY, UP, eventually, finish, running


def pods_by_node(deployment):
    """The two loader pods, as soon as they are on their nodes."""

    def look():
        pods = {pod["spec"]["nodeName"]: pod for pod in deployment.pods() if "nodeName" in pod["spec"]}
        return pods if len(pods) == 2 else None

    return eventually(look)


def end_one(deployment, kubelet):
    """End a loader pod that was told to, as soon as there is one."""
    kubelet.end(eventually(lambda: [pod for pod in deployment.pods() if "deletionTimestamp" in pod["metadata"]])[0])


def test_labels_of_a_run_that_built_and_failed_go_when_their_pods_are_not_ready_any_more(deployment, kubelet, built):
    built.write()
    deployment.stack.config["kmm:rollout"] = {"timeout": "5s"}
    fine, slow = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        built.make()
        pods = pods_by_node(deployment)
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
        kubelet.run(pods_by_node(deployment)[fine])
        finish(up, 1)
    with running(deployment.stack, *DESTROY) as gone:
        for _ in range(2):
            end_one(deployment, kubelet)
        finish(gone)
    assert deployment.is_gone()
