"""Guards what the other node tests stand on, and what the manifests take for granted of a kubelet.

Against a node that runs pods without their probes and hooks, whose logs can't be read, or that starts a device plugin
before its module is there.
"""

import json

import pytest
from module_signing import run
from pods import SELECTOR, daemon_set, host_path, job, mount, pod_spec

from tools.real.images import DEVICE_PLUGIN_IMAGE
from tools.real.network import BRIDGE
from tools.real.site import wait_until

RESOURCE = "kmm.example.com/sample"
LOWER = "02:00:00:00:00:01"  # than that of the bridge
SOCKETS = "/var/lib/kubelet/device-plugins"


@pytest.fixture
def host_folder(unique):
    return f"/run/kmm-test/{unique}"


def test_the_gateway_of_pods_keeps_its_hardware_address_when_another_pod_comes(site):
    def address():
        (bridge,) = json.loads(run("ip", "-json", "link", "show", "dev", BRIDGE))
        return bridge["address"]

    before = address()
    run("ip", "link", "add", "kmm-test", "address", LOWER, "master", BRIDGE, "type", "veth")
    try:
        assert address() == before
    finally:
        run("ip", "link", "delete", "kmm-test")


def test_a_daemonset_runs_with_probe_logs_exec_and_pre_stop_hook(kubelet_node, workloads, host_folder):
    container = {
        "command": ["sh", "-c", "echo loading; sleep 2; touch /host/ready; exec sleep infinity"],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/host/ready"]}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 2; echo unloaded >/host/stopped"]}}},
        "volumeMounts": [mount("host", "/host")],
    }
    spec = pod_spec(kubelet_node.name, container, host_path("host", host_folder, "DirectoryOrCreate"))
    workloads.create("DaemonSet", "hooks", **daemon_set(spec))
    pod = workloads.wait_for_pod(SELECTOR)
    assert workloads.kubectl("logs", pod) == "loading\n"
    assert workloads.kubectl("exec", pod, "--", "cat", "/etc/debian_version").startswith("12")

    workloads.remove("DaemonSet", "hooks")
    assert kubelet_node.run(f"cat {host_folder}/stopped") == "unloaded\n"


def test_a_folder_of_the_node_holds_a_pod_back_until_it_is_there(kubelet_node, workloads, host_folder):
    container = {"command": ["sleep", "infinity"], "volumeMounts": [mount("host", "/host")]}
    spec = pod_spec(kubelet_node.name, container, host_path("host", host_folder, "Directory"))
    workloads.create("DaemonSet", "waiting", **daemon_set(spec))
    wait_until(lambda: "hostPath type check failed" in workloads.kubectl("events"), "the mount fails", 30)
    (pod,) = workloads.pods(SELECTOR)
    assert pod["status"]["phase"] == "Pending"

    kubelet_node.run(f"mkdir -p {host_folder}")
    workloads.wait_for_pod(SELECTOR)


def test_the_device_plugin_offers_its_resource_and_a_pod_gets_a_device(kubelet_node, workloads):
    plugin = {
        "image": DEVICE_PLUGIN_IMAGE,
        "env": [{"name": "RESOURCE", "value": RESOURCE}],
        "securityContext": {"privileged": True},
        "volumeMounts": [mount("sockets", SOCKETS)],
    }
    spec = pod_spec(kubelet_node.name, plugin, host_path("sockets", SOCKETS, "Directory"))
    workloads.create("DaemonSet", "plugin", **daemon_set(spec))
    workloads.wait_for_pod(SELECTOR)
    wait_until(lambda: allocatable(workloads, kubelet_node).get(RESOURCE) == "2", f"the node offers {RESOURCE}", 60)

    user = {"command": ["printenv", "SAMPLE_DEVICE"], "resources": {"limits": {RESOURCE: "1"}}}
    workloads.create("Job", "user", **job(pod_spec(kubelet_node.name, user)))
    workloads.wait_for_job("user")
    assert workloads.kubectl("logs", "job/user") == "allocated\n"


def allocatable(workloads, node):
    return workloads.cluster.api.request("GET", f"/api/v1/nodes/{node.name}")["status"]["allocatable"]
