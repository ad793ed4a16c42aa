"""Guards against runs for a part of the stack (`--target`, `--exclude`) that unload without order."""

from tests.engine.deployment import KERNEL, NEXT_KERNEL

TARGET, EXCLUDE = ("--target", "**DaemonSet**"), ("--exclude", "**Departures**")


def test_a_run_that_leaves_out_what_unloads_in_order_is_refused_before_anything_changes(deployment):
    deployment.write(plugin=True)
    deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    deployment.write(plugin=True, modprobe={"parameters": ["debug=1"]})
    before = deployment.content()
    for result in (deployment.stack.up(*EXCLUDE), deployment.stack.up(*TARGET)):
        assert "leaves out the step that does so in order. Nothing was changed" in result.expect(1).output
        assert "Traceback" not in result.output
    assert deployment.content() == before

    deployment.write(plugin=True)
    (node,) = deployment.nodes.add(NEXT_KERNEL)
    deployment.stack.up(*TARGET).expect()
    deployment.stack.up().expect()
    assert deployment.ready_label() in deployment.labels(node)
