"""Guards the way from the sample's sources to a kernel and back, without our program: a Job builds, a pod loads.

Against a VM whose kernel can't be asked, whose containerd or kubelet are not as the manifests need them, or that does
not boot the kernel it is told.
"""

import pytest
from pods import SELECTOR, daemon_set, host_path, job, mount, pod_spec

from tools.bootstrap import CHECKOUT
from tools.real.images import BUILDER_IMAGE, DEBIAN_IMAGE, SAMPLE_SOURCE_IMAGE
from tools.real.network import REGISTRY
from tools.real.site import wait_until

MODULES = {"kmm_sample", "kmm_sample_base"}


@pytest.fixture
def sample_image(kubelet_node, virtual_machine, workloads):
    """The sample's ModuleLoader image for the VM's first kernel, built in a Job on the other node."""
    kernel = virtual_machine.kernels[0]
    image = f"{REGISTRY}/smoke/sample:{kernel}"
    arguments = {"BASE_IMAGE": DEBIAN_IMAGE, "SOURCE_IMAGE": SAMPLE_SOURCE_IMAGE, "KERNEL_FULL_VERSION": kernel}
    options = " ".join(f"--build-arg={name}={value}" for name, value in arguments.items())
    build = f"buildah bud --tls-verify=false {options} --tag={image} --file=/workspace/Containerfile /workspace"
    container = {
        "image": BUILDER_IMAGE,
        "command": ["sh", "-c", f"{build} && buildah push --tls-verify=false {image}"],
        "volumeMounts": [mount("workspace", "/workspace"), mount("storage", "/var/lib/containers")],
    }
    volumes = {"name": "workspace", "configMap": {"name": "sample"}}, {"name": "storage", "emptyDir": {}}
    workloads.create(
        "ConfigMap", "sample", data={"Containerfile": (CHECKOUT / "loader-image/Containerfile").read_text()}
    )
    workloads.create("Job", "build", **job(pod_spec(kubelet_node.name, container, *volumes)))
    workloads.wait_for_job("build")
    return image


def loader(node, kernel, image):
    modules = f"/lib/modules/{kernel}"
    container = {
        "image": image,
        "command": ["sh", "-c", "modprobe -v -d /opt kmm_sample greeting=smoke && exec sleep infinity"],
        "lifecycle": {"preStop": {"exec": {"command": ["modprobe", "-rv", "-d", "/opt", "kmm_sample"]}}},
        "readinessProbe": {"exec": {"command": ["test", "-d", "/sys/module/kmm_sample"]}, "periodSeconds": 2},
        "securityContext": {"capabilities": {"add": ["SYS_MODULE"]}},
        "volumeMounts": [mount("modules", modules) | {"readOnly": True}],
    }
    return pod_spec(node, container, host_path("modules", modules, "Directory"))


def test_a_pod_loads_the_built_module_and_unloads_it(virtual_machine, workloads, sample_image):
    kernel = virtual_machine.kernels[0]
    waiting = {"command": ["sleep", "infinity"], "volumeMounts": [mount("module", "/module")]}
    module = host_path("module", "/sys/module/kmm_sample", "Directory")
    workloads.create("Pod", "waiting", spec=pod_spec(virtual_machine.name, waiting, module))
    wait_until(lambda: "hostPath type check failed" in workloads.kubectl("events"), "the mount fails", 60)
    workloads.create("DaemonSet", "loader", **daemon_set(loader(virtual_machine.name, kernel, sample_image)))

    pod = workloads.wait_for_pod(SELECTOR)
    assert virtual_machine.loaded_modules() >= MODULES
    assert virtual_machine.parameter("kmm_sample", "greeting") == "smoke"
    assert 'kmm_sample: loaded, greeting "smoke"' in virtual_machine.kernel_log()
    assert "insmod /opt/lib/modules" in workloads.kubectl("logs", pod)
    wait_until(lambda: workloads.get("Pod", "waiting")["status"]["phase"] == "Running", "the other pod runs", 150)

    workloads.remove("DaemonSet", "loader")
    assert not virtual_machine.loaded_modules() & MODULES


def test_the_virtual_machine_boots_the_kernel_it_is_told(site, virtual_machine):
    kernel = virtual_machine.kernels[1]
    site.boot(virtual_machine, kernel, "module.sig_enforce=1")
    node = site.cluster.api.request("GET", f"/api/v1/nodes/{virtual_machine.name}")
    assert node["status"]["nodeInfo"]["kernelVersion"] == kernel
    assert virtual_machine.parameter("module", "sig_enforce") == "Y"
