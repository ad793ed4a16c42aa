"""Guards against a language host of ours with which the tests see what no user does."""

from tests.engine.deployment import KERNEL, declared
from tools.stack import Stack


def test_a_program_on_it_tells_and_declares_what_it_does_on_pulumi_s_own(deployment, tools):
    warm, cold = deployment.stack, Stack(deployment.stack.folder, tools)
    cold.config = warm.config
    warm.config["kmm:modules"] = ["missing.yaml"]
    assert words(warm.preview().expect(1).output) == words(cold.preview().expect(1).output)

    deployment.write(plugin=True)
    deployment.nodes.add(KERNEL)
    warm.up().expect()
    assert not declared(cold.preview("--diff").expect())


def words(output):
    """The output without progress: how often the engine shows that depends on time."""
    return [line for line in output.splitlines() if not line.startswith("@ ")]
