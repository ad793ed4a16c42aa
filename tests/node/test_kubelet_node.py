"""Guards what the other node tests stand on, and what the manifests take for granted of a kubelet.

Against a node that runs pods without their probes and hooks, whose logs can't be read, or that starts a device plugin
before its module is there.
"""

import time

import pytest

from tools.real.images import DEBIAN_IMAGE, DEVICE_PLUGIN_IMAGE
from tools.real.site import wait_until

RESOURCE = "kmm.example.com/sample"


def pod_spec(node, container, *volumes):
    return {
        "nodeSelector": {"kubernetes.io/hostname": node.name},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "containers": [{"name": "main", "image": DEBIAN_IMAGE, **container}],
        "volumes": list(volumes),
    }


def daemon_set(spec):
    labels = {"app": "test"}
    return {
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def host_path(path, kind):
    return {"name": "host", "hostPath": {"path": path, "type": kind}}


HOST_MOUNT = {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}


@pytest.fixture
def host_folder(unique):
    return f"/run/kmm-test/{unique}"


def test_a_daemonset_runs_with_probe_logs_exec_and_pre_stop_hook(kubelet_node, workloads, host_folder):
    container = {
        "command": ["sh", "-c", "echo loading; sleep 2; touch /host/ready; exec sleep infinity"],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/host/ready"]}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 2; echo unloaded >/host/stopped"]}}},
        **HOST_MOUNT,
    }
    spec = pod_spec(kubelet_node, container, host_path(host_folder, "DirectoryOrCreate"))
    workloads.create("DaemonSet", "hooks", **daemon_set(spec))
    pod = workloads.wait_for_pod("app=test")
    assert workloads.kubectl("logs", pod) == "loading\n"
    assert workloads.kubectl("exec", pod, "--", "cat", "/etc/debian_version").startswith("12")

    workloads.remove("DaemonSet", "hooks")
    assert kubelet_node.run(f"cat {host_folder}/stopped") == "unloaded\n"


def test_a_folder_of_the_node_holds_a_pod_back_until_it_is_there(kubelet_node, workloads, host_folder):
    spec = pod_spec(kubelet_node, {"command": ["sleep", "infinity"], **HOST_MOUNT}, host_path(host_folder, "Directory"))
    workloads.create("DaemonSet", "waiting", **daemon_set(spec))
    time.sleep(8)
    (pod,) = workloads.pods("app=test")
    assert pod["status"]["phase"] == "Pending"
    assert "hostPath type check failed" in workloads.kubectl("events", "--types=Warning")

    kubelet_node.run(f"mkdir -p {host_folder}")
    workloads.wait_for_pod("app=test")


def test_the_device_plugin_offers_its_resource_and_a_pod_gets_a_device(kubelet_node, workloads):
    def allocatable():
        return workloads.cluster.api.request("GET", f"/api/v1/nodes/{kubelet_node.name}")["status"]["allocatable"]

    sockets = "/var/lib/kubelet/device-plugins"
    plugin = {
        "image": DEVICE_PLUGIN_IMAGE,
        "env": [{"name": "RESOURCE", "value": RESOURCE}],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "host", "mountPath": sockets}],
    }
    workloads.create(
        "DaemonSet", "plugin", **daemon_set(pod_spec(kubelet_node, plugin, host_path(sockets, "Directory")))
    )
    workloads.wait_for_pod("app=test")
    wait_until(lambda: allocatable().get(RESOURCE) == "2", f"the node offers {RESOURCE}", 60)

    user = {"command": ["printenv", "SAMPLE_DEVICE"], "resources": {"limits": {RESOURCE: "1"}}}
    job = {"template": {"spec": pod_spec(kubelet_node, user) | {"restartPolicy": "Never"}}, "backoffLimit": 0}
    workloads.create("Job", "user", spec=job)
    workloads.wait_for_job("user")
    assert workloads.kubectl("logs", "job/user") == "allocated\n"
