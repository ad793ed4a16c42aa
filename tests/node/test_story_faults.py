"""Guards against what breaks while `up` runs: each fault ends with words, the next `up` repairs it, and none unloads.

Against a program that takes what it can't see for what is not there.
"""

from contextlib import contextmanager

from tests.engine.deployment import UP, eventually, finish, running


@contextmanager
def disk_that_fills(machine):
    """A disk too full for the kubelet; call what is given to fill it again, once the kubelet has made room."""
    script = """
        room=$(($(df --output=avail --block-size=1K / | tail -n 1) - 300))
        [ $room -le 0 ] || fallocate --length=${room}K /filler-$(date +%s%N)
    """
    try:
        yield lambda: machine.run(script)
    finally:
        machine.run("rm --force /filler-*")


def changed_once(sample):
    return sample.kernel_words() == ["unloaded", sample.written_greeting]


def test_without_its_registry_an_up_stops_before_it_changes_anything(loaded, site):
    site.registry.stop()
    try:
        loaded.change()
        output = loaded.up(exit_code=1).output
    finally:
        site.registry.start()
    assert loaded.repository in output
    assert "Traceback" not in output
    assert loaded.kernel_words() == []
    loaded.up()
    assert changed_once(loaded)


def test_a_full_disk_unloads_nothing_and_holds_up_no_change(loaded):
    with disk_that_fills(loaded.machine) as fill:
        fill()
        eventually(loaded.is_short_of_disk, 120)
        before = loaded.greeting()
        loaded.up()
        assert loaded.kernel_words() == []
        assert loaded.greeting() == before

        fill()
        eventually(loaded.is_short_of_disk, 120)
        loaded.change()
        loaded.up()
        assert changed_once(loaded)


def test_a_kubelet_that_starts_again_during_the_rollout_delays_it_and_no_more(loaded):
    loaded.change()
    with running(loaded.stack, *UP) as up:
        eventually(lambda: "unloaded" in loaded.kernel_words(), 120)
        loaded.machine.run("kill $(pidof kubelet)")
        finish(up, within=300)
    assert changed_once(loaded)


def test_an_api_server_that_starts_again_during_the_rollout_leaves_it_to_the_next_up(loaded, site):
    loaded.change()
    with running(loaded.stack, *UP) as up:
        eventually(lambda: "unloaded" in loaded.kernel_words(), 120)
        site.cluster._end_processes()
        site.cluster.start()
        output, _ = up.communicate(timeout=300)
    assert "Traceback" not in output
    loaded.up()
    assert changed_once(loaded)


def test_a_node_without_power_during_the_rollout_is_loaded_by_the_next_up(loaded, site):
    loaded.change()
    kernel = loaded.machine.booted
    with running(loaded.stack, *UP) as up:
        eventually(lambda: "unloaded" in loaded.kernel_words(), 120)
        loaded.machine.power_off()
        output = finish(up, within=300)
    assert "not waited for on 1 nodes, virtual-machine among them" in output
    assert "node.kubernetes.io/unreachable" in output
    assert "Traceback" not in output
    site.boot(loaded.machine, kernel)
    output = loaded.up().output
    assert loaded.kernel_words() == [loaded.written_greeting], output
