"""Guards nodes that come back with another kernel, or with one that takes no module it can't trust.

Against images that are built too late or twice, a loader of a kernel that is gone, words that leave the reader alone
with modprobe's, and a device plugin that runs without its module. Each test begins with the kernel that runs.
"""

import pytest
from sample import TRUSTED

from kmm.names import ROLE_DEVICE_PLUGIN
from tests.engine.deployment import eventually, object_steps

ONE_FOR_THE_OTHER = {("create", "DaemonSet"): 1, ("delete", "DaemonSet"): 1}


@pytest.fixture
def other_kernel(sample):
    """The kernel that does not run."""
    (other,) = set(sample.machine.kernels) - {sample.machine.booted}
    return other


def test_with_the_kernel_named_beforehand_nothing_is_built_after_the_reboot(sample, site, other_kernel):
    sample.write()
    sample.up()
    sample.up()  # clears away what may have been built
    sample.begin()
    sample.stack.config["kmm:futureKernels"] = [other_kernel]
    assert object_steps(sample.up()) == {("create", "Job"): 2}
    assert other_kernel.replace("+", "_") in sample.tags()
    assert object_steps(sample.up()) == {("delete", "Job"): 2}
    assert sample.kernel_words() == []

    site.boot(sample.machine, other_kernel)
    assert object_steps(sample.up()) == ONE_FOR_THE_OTHER
    assert sample.loaded()
    assert sample.kernel_words() == ["hello"]
    del sample.stack.config["kmm:futureKernels"]


def test_under_secure_boot_a_module_is_refused_in_plain_words_until_a_trusted_key_signs_it(sample, site):
    kernel = sample.machine.booted
    sample.write(plugin=True)
    sample.up()
    sample.up()
    assert sample.taint() == "OE"
    site.boot(sample.machine, kernel, secure=True)
    assert "[integrity]" in sample.machine.run("cat /sys/kernel/security/lockdown")
    assert not sample.loaded()
    assert len(sample.deployment.pods(ROLE_DEVICE_PLUGIN)) == 1
    eventually(lambda: not plugin_is_ready(sample))  # the kubelet has looked after it since the boot

    refused = "Key was rejected by service"
    means = "The kernel only takes modules signed with a key that it trusts"
    for say in (
        lambda: sample.up(exit_code=1).output,
        lambda: sample.kmm("status", "-o", "json", code=3),
        lambda: sample.kmm("explain", "sample", "-o", "json"),
    ):
        words = say()
        assert refused in words
        assert means in words
    assert sample.labels() == {"kernel-version.full"}
    assert not plugin_is_ready(sample)

    sample.write(plugin=True, key=TRUSTED, unsigned="${KERNEL_FULL_VERSION}", image_of={kernel: "trusted"})
    assert object_steps(sample.up())["create", "Job"] == 1
    assert sample.loaded()
    assert sample.kernel_words() == ["hello"]
    assert sample.taint() == "O"
    eventually(lambda: sample.allocatable().get(sample.resource) == "2", 150)


def plugin_is_ready(sample):
    statuses = [pod["status"].get("containerStatuses", []) for pod in sample.deployment.pods(ROLE_DEVICE_PLUGIN)]
    return any(one["ready"] for containers in statuses for one in containers)
