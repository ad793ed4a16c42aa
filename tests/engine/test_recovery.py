"""Guards against a killed engine or a lost state that leaves duplicates, unloads modules, or can't be cleaned up."""

import pytest

from kmm.names import KERNEL_LABEL
from tests.engine.deployment import (
    KERNEL,
    NEXT_KERNEL,
    TAKE_OVER,
    UP,
    Deployment,
    eventually,
    forget_take_over,
    lose_state,
    running,
)
from tools.stack import kill

LAST_KERNEL = "6.1.0-1"


def recover(deployment):
    """What the documentation says to do after a killed engine."""
    deployment.stack.cancel().expect()
    deployment.stack.environment[TAKE_OVER] = "true"
    deployment.stack.up("--refresh").expect()


def assert_whole_and_destroyable(deployment, daemon_sets):
    assert deployment.daemon_sets().keys() == daemon_sets
    assert len(deployment.list(f"/apis/apps/v1/namespaces/{deployment.namespace}/daemonsets")) == len(daemon_sets)
    deployment.stack.destroy().expect()
    assert deployment.is_gone()


@pytest.mark.parametrize("checkpoints", [True, False], ids=["checkpoints", "no checkpoints"])
def test_an_engine_killed_in_the_middle_of_a_change_leaves_no_duplicates(deployment, checkpoints):
    deployment.write("goes")
    deployment.write("changes")
    deployment.nodes.add(KERNEL)
    (moves,) = deployment.nodes.add(NEXT_KERNEL)
    if not checkpoints:
        deployment.stack.environment["PULUMI_SKIP_CHECKPOINTS"] = "true"
    deployment.stack.up().expect()

    deployment.remove("goes")
    deployment.write("changes", modprobe={"parameters": ["debug=1"]})
    deployment.write("comes", plugin=True)
    deployment.cluster.nodes.set_kernel(moves, LAST_KERNEL)
    with running(deployment.stack, *UP) as up:
        eventually(lambda: any(module == "comes" for module, _ in deployment.daemon_sets()))
        kill(up)
    recover(deployment)
    forget_take_over(deployment)
    kernels = (KERNEL, LAST_KERNEL)
    wanted = {(module, kernel) for module in ("changes", "comes") for kernel in kernels} | {("comes", "")}
    assert_whole_and_destroyable(deployment, wanted)


def test_an_engine_killed_while_it_labels_nodes_leaves_no_label_behind(deployment):
    deployment.write()
    deployment.nodes.add(KERNEL, 100)  # so many that the last ones have no label yet
    labelled = f"/api/v1/nodes?labelSelector={KERNEL_LABEL},kmm.test/name={deployment.nodes.unique}"
    with running(deployment.stack, *UP) as up:
        eventually(lambda: deployment.list(labelled))
        kill(up)
    recover(deployment)
    assert_whole_and_destroyable(deployment, {("kmod", KERNEL)})


def test_an_engine_killed_while_it_waits_for_pods_goes_on_waiting(deployment, kubelet):
    deployment.write()
    kubelet.add_nodes()
    with running(deployment.stack, *UP) as up:
        (pod,) = eventually(deployment.pods)
        kill(up)
    kubelet.run(pod)
    recover(deployment)
    assert [one["metadata"]["uid"] for one in deployment.pods()] == [pod["metadata"]["uid"]]


def test_an_engine_killed_as_it_writes_leaves_what_the_documentation_says(pulumi):
    """A `file://` backend writes a file of attributes beside the state, and not in one step."""
    backend = pulumi.folder / "backend"
    assert not list(backend.rglob("*.attrs"))
    pulumi.environment["PULUMI_BACKEND_URL"] = backend.as_uri()
    attributes = backend / ".pulumi/stacks/kmm/test.json.attrs"
    attributes.touch()
    assert "failed to load checkpoint: EOF" in pulumi.cancel().expect(1).output
    attributes.unlink()
    assert "EOF" not in pulumi.cancel().output
    assert pulumi.state()["manifest"]


class TestLostState:
    @pytest.fixture
    def stateless(self, deployment, tools) -> Deployment:
        """The same definition, deployed, in a stack that knows nothing of it."""
        deployment.write(plugin=True)
        deployment.write("other")
        deployment.nodes.add(KERNEL)
        deployment.nodes.add(NEXT_KERNEL)
        deployment.stack.up().expect()
        lose_state(deployment, tools)
        return deployment

    def test_nothing_changes_before_it_is_taken_over_which_unloads_nothing_and_leaves_a_stack_like_any_other(
        self, stateless
    ):
        before, daemon_sets = stateless.content(), stateless.daemon_sets()
        refused = stateless.stack.preview().expect(1).output
        assert f"{TAKE_OVER}=true pulumi up" in refused
        assert "5 DaemonSets exist already and are not this stack's" in refused
        stateless.stack.environment[TAKE_OVER] = "true"
        stateless.write("other", modprobe={"parameters": ["debug=1"]})
        assert "is unloaded and loaded again" in stateless.stack.preview().expect().output
        assert stateless.content() == before

        # As one who sees the preview first; an `up` without one would leave a name of its own in the new state.
        pods = {pod["metadata"]["uid"] for pod in stateless.pods()}
        stateless.write("other")
        told = " ".join(stateless.stack.up().expect().output.split())
        assert "this stack goes on as kmm-" in told
        forget_take_over(stateless)
        stateless.stack.preview("--expect-no-changes").expect()
        assert {pod["metadata"]["uid"] for pod in stateless.pods()} == pods
        assert_whole_and_destroyable(stateless, daemon_sets.keys())

    def test_what_left_the_definition_meanwhile_is_named_and_left_alone(self, stateless):
        """It might as well be what a living stack has besides."""
        pods = {pod["metadata"]["uid"] for pod in stateless.pods()}
        stateless.remove("other")
        stateless.stack.environment[TAKE_OVER] = "true"
        preview = stateless.stack.preview().expect()
        assert f"left alone: {stateless.namespace}/other" in preview.output
        stateless.stack.up().expect()
        # The provider may have noted objects as they were before it took them over: it labels those once more.
        del stateless.stack.environment[TAKE_OVER]
        stateless.stack.up().expect()
        assert {pod["metadata"]["uid"] for pod in stateless.pods()} == pods
        assert {module for module, _ in stateless.daemon_sets()} == {"kmod", "other"}
        stateless.remove("kmod")
        stateless.write("another", selector={"kmm.test/name": "none"})
        stateless.stack.up(timeout=120).expect()
        assert {module for module, _ in stateless.daemon_sets()} == {"other"}
        assert all(stateless.ready_label("kmod") not in stateless.labels(node) for node in stateless.nodes.names)
