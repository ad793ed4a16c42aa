"""Guards what comes after a Job: labels that nobody would take off again, or that somebody takes off too early.

The run that makes an image has a wait of its own for the loader, of which nothing is in the state when it fails.
"""

import pytest

from tests.engine.deployment import DESTROY, UP, eventually, finish, running


@pytest.fixture
def pods(deployment, kubelet, built):
    """The pods of a loader whose image was built in a run that failed, by node: the first one alone is Ready."""
    built.write()
    deployment.stack.config["kmm:rollout"] = {"timeout": "10s"}
    nodes = kubelet.add_nodes(count=2)
    with running(deployment.stack, *UP) as up:
        built.make()
        eventually(lambda: [pod["spec"].get("nodeName") for pod in deployment.pods()] == nodes)
        pods = dict(zip(nodes, deployment.pods(), strict=True))
        kubelet.run(pods[nodes[0]])
        finish(up, 1)
    assert [deployment.ready_label() in deployment.labels(node) for node in nodes] == [True, False]
    return pods


def test_labels_of_a_run_that_built_and_failed_go_when_their_pods_are_not_ready_any_more(deployment, kubelet, pods):
    fine, slow = pods
    kubelet.run(pods[slow])
    deployment.stack.up().expect()
    deployment.stack.preview("--expect-no-changes").expect()
    kubelet.run(pods[fine], ready=False)
    eventually(lambda: deployment.count_ready() == 1)
    deployment.stack.up().expect(1)
    assert deployment.ready_label() not in deployment.labels(fine)
    assert deployment.ready_label() in deployment.labels(slow)


def test_they_go_with_the_stack_when_no_run_has_taken_them_over(deployment, kubelet, pods):
    with running(deployment.stack, *DESTROY) as gone:
        for pod in pods.values():
            eventually(lambda: all("deletionTimestamp" in one["metadata"] for one in deployment.pods()))
            kubelet.end(pod)
        finish(gone)
    assert deployment.is_gone()
