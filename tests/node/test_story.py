"""Guards what users have this program for, by the kernel's own word: `up` ends with the modules in the kernel.

Against images that the kernel refuses, a change that loads before it unloads, that unloads twice or not at all, and a
run that says other things than the kernel does. The tests of a worker share a stack, whose first two runs the first
test sees: building and pulling the image takes longest.
"""

import time

import pytest
from sample import SIGNER

from kmm.names import ROLE_DEVICE_PLUGIN
from tests.engine.deployment import DESTROY, UP, Object, eventually, finish, object_steps, running

NEVER = {"kmm.sigs.x-k8s.io/unload-policy": "Never"}
KERNEL_LABEL = "kernel-version.full"


def uids(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["uid"] for pod in pods]


def test_one_up_builds_signs_and_loads_and_the_next_only_clears_the_jobs_away(sample):
    sample.write(plugin=True)
    up = sample.up()
    assert object_steps(up)["create", "Job"] == 2
    assert sample.tags() >= {sample.machine.booted.replace("+", "_")}
    assert sample.loaded()
    assert sample.kernel_words() == ["hello"]
    assert sample.greeting() == "hello"
    assert "kmm_sample: firmware kmm_sample.bin: 43 bytes" in sample.machine.kernel_log()
    assert sample.signers() == {SIGNER}
    assert {KERNEL_LABEL, "sample.sample.ready"} <= sample.labels()
    eventually(lambda: sample.allocatable().get(sample.resource) == "2")

    pods = uids(sample.deployment.pods())  # and the plugin's, for which a run that builds does not wait
    assert object_steps(sample.up()) == {("delete", "Job"): 2}
    assert sample.up().changes == {}
    assert uids(sample.deployment.pods()) == pods
    assert sample.kernel_words() == ["hello"]
    assert sample.labels() == {KERNEL_LABEL, "sample.sample.ready", "sample.sample.device-plugin-ready"}


def test_a_changed_parameter_unloads_and_loads_once_while_the_device_plugin_is_away(sample):
    sample.write(plugin=True)
    sample.up()
    sample.begin()
    plugin = uids(sample.deployment.pods(ROLE_DEVICE_PLUGIN))
    sample.write(plugin=True, greeting="changed")
    steps = object_steps(sample.up())
    del steps["delete", "Job"]  # of the first `up`, when this test runs alone
    assert steps == {("update", "DaemonSet"): 1}
    assert sample.kernel_words() == ["unloaded", "changed"]
    assert sample.greeting() == "changed"
    assert not sample.failed_hooks()
    assert uids(sample.deployment.pods(ROLE_DEVICE_PLUGIN)) != plugin


def test_a_module_in_use_stays_is_reported_and_is_reloaded_by_an_up_after_its_user_ended(loaded):
    before = loaded.greeting()
    loaded.change()
    with loaded.open_device():
        output = loaded.up(exit_code=1).output
        assert "could not be unloaded and is in the kernel as it was before" in output
        assert "Module kmm_sample is in use" in output
        assert "Traceback" not in output
        assert loaded.kernel_words() == []
        assert loaded.greeting() == before
        assert loaded.failed_hooks()

    output = loaded.up().output
    assert "unloaded and loaded again on virtual-machine: an earlier run could not" in output
    assert loaded.kernel_words() == ["unloaded", loaded.written_greeting]
    assert loaded.up().changes == {}


def test_a_renamed_module_is_unloaded_before_it_is_loaded_under_its_new_name(loaded):
    loaded.deployment.remove("sample")
    loaded.write("renamed", greeting="renamed")
    loaded.up()
    assert loaded.kernel_words() == ["unloaded", "renamed"]
    assert not loaded.failed_hooks()
    assert loaded.labels() == {KERNEL_LABEL, "sample.renamed.ready"}


def test_a_module_that_must_never_be_unloaded_stays_in_the_kernel_when_it_is_removed(loaded):
    loaded.deployment.remove("sample")
    loaded.write("stays", greeting="stays", annotations=NEVER)
    loaded.up()
    assert loaded.kernel_words() == ["unloaded", "stays"]

    loaded.write("stays", greeting="other", annotations=NEVER)
    assert "stays in the kernel as it is, because its unload policy is Never" in loaded.up().output
    assert loaded.greeting() == "stays"

    loaded.deployment.remove("stays")
    loaded.write_idle()
    loaded.up()
    assert loaded.kernel_words() == ["unloaded", "stays"]
    assert not loaded.labels()
    loaded.machine.run("rmmod kmm_sample kmm_sample_base")


@pytest.mark.parametrize("command", [UP, DESTROY], ids=["removed", "destroyed"])
def test_what_unloading_needs_stays_until_it_is_done_and_then_nothing_is_left(loaded, command):
    loaded.machine.run("touch /var/lib/firmware/of-another")
    loaded.deployment.remove("sample")
    loaded.write_idle()
    with running(loaded.stack, *command) as run:
        with loaded.open_device():  # so that the preStop hook tries for some seconds
            eventually(lambda: ["deletionTimestamp" in pod["metadata"] for pod in loaded.deployment.pods()] == [True])
            time.sleep(5)
            assert loaded.loaded()
            assert KERNEL_LABEL in loaded.labels()
            assert loaded.firmware() == {"kmm_sample.bin", "of-another"}
            assert loaded.deployment.pods()
        finish(run, within=120)
    assert loaded.kernel_words() == ["unloaded"]
    assert not loaded.failed_hooks()
    assert not loaded.loaded()
    assert loaded.firmware() == {"of-another"}
    assert not loaded.labels()
    assert not loaded.deployment.pods()
    loaded.machine.run("rm /var/lib/firmware/of-another")
