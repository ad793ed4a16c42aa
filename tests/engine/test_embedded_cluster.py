"""Guards against test tools that mislead: pods that never run, a cluster lost in a crash, engines left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tools.api import ApiError
from tools.cluster import Cluster
from tools.stack import Stack, kill

PROGRAM = """
import time
import pulumi
pulumi.export("greeting", pulumi.Config().require("greeting"))
time.sleep(float(pulumi.Config().get("sleep") or 0))
"""


@pytest.fixture
def program(tmp_path) -> Path:
    """A program without resources that can be told to take long."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("{name: tiny, runtime: python}")
    (folder / "__main__.py").write_text(PROGRAM)
    return folder


def eventually(condition, within=60):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def processes_of_session(session):
    """Commands of the processes that run in this session; ended ones that nobody waited for have none."""
    commands = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                commands.append((entry / "cmdline").read_bytes())
        except (OSError, ProcessLookupError):
            continue
    return [command for command in commands if command]


def test_simulated_pods_run_on_their_nodes_and_go_with_their_daemonset(cluster, namespace, nodes):
    names = nodes.add("6.1.0", count=2)
    labels = {"app": "loader"}
    template = {"spec": {"nodeSelector": nodes.selector, "containers": [{"name": "c", "image": "image.invalid/c"}]}}
    daemonset = {
        "metadata": {"name": "loader"},
        "spec": {"selector": {"matchLabels": labels}, "template": template | {"metadata": {"labels": labels}}},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets"
    cluster.api.request("POST", path, daemonset)
    eventually(lambda: cluster.api.request("GET", f"{path}/loader")["status"].get("numberReady") == 2)
    pods = cluster.api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == set(names)
    cluster.api.request("DELETE", f"{path}/loader?propagationPolicy=Foreground")

    def gone():
        try:
            cluster.api.request("GET", f"{path}/loader")
        except ApiError as error:
            return error.status == 404
        return False

    eventually(gone)
    assert cluster.api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"] == []


def test_a_node_reports_the_kernel_that_it_was_given_last(cluster, nodes):
    (name,) = nodes.add("5.14.0-427.el9.x86_64", taints=({"key": "gpu", "effect": "NoSchedule"},), unschedulable=True)
    cluster.nodes.set_kernel(name, "6.1.0+")
    node = cluster.api.request("GET", f"/api/v1/nodes/{name}")
    assert node["status"]["nodeInfo"]["kernelVersion"] == "6.1.0+"
    assert node["spec"]["unschedulable"]
    assert "gpu" in {taint["key"] for taint in node["spec"]["taints"]}


def gives_up_once(kwokctl, component):
    """kwokctl, after whose first call the component ends, as if the API server had not answered it in time."""
    calls = []

    def run(*arguments):
        done = kwokctl(*arguments)
        if not calls:
            os.kill(int(component.read_text()), signal.SIGKILL)
        calls.append(arguments)
        return done

    return run


def test_a_cluster_is_made_anew_after_an_interrupted_start_and_goes_on_with_its_data_after_a_crash(
    tools, tmp_path, monkeypatch
):
    (tmp_path / "cluster/kwok/clusters/embedded/pids").mkdir(parents=True)
    (tmp_path / "cluster/kwok/clusters/embedded/pids/etcd.pid").write_text("")
    with Cluster(tmp_path / "cluster", tools) as cluster:
        assert cluster.is_ready()
        identity = cluster.api.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
        crashed = list(tmp_path.glob("cluster/kwok/clusters/*/pids/*.pid"))
        for file in crashed:
            os.kill(int(file.read_text()), signal.SIGKILL)
        crashed[0].write_text(str(os.getpid()))  # as after a reboot: the number is another process now
        assert not cluster.is_ready()
        monkeypatch.setattr(
            cluster, "_kwokctl", gives_up_once(cluster._kwokctl, crashed[0].with_name("kube-controller-manager.pid"))
        )
        assert not cluster.start()
        assert cluster.api.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"] == identity
        assert not cluster.start()
    assert not (tmp_path / "cluster").exists()


def test_a_stack_keeps_everything_in_its_folder(tools, tmp_path, program):
    before = sorted(program.iterdir())
    stack = Stack(tmp_path / "stack", tools, program)
    stack.config["tiny:greeting"] = "hello"
    assert stack.up().expect().changes == {"create": 1}
    assert stack.outputs() == {"greeting": "hello"}
    assert stack.preview("--expect-no-changes").expect().changes == {}
    assert stack.destroy().expect().changes == {"delete": 1}
    assert stack.state().get("resources", []) == []
    assert [path for path in sorted(program.iterdir()) if path.name != "__pycache__"] == before
    assert (stack.folder / "home/logs").read_bytes() == b""  # the engine takes the file for no reason to fail


def test_no_process_stays_behind_when_a_command_takes_too_long_or_is_interrupted(tools, tmp_path, program, monkeypatch):
    stack = Stack(tmp_path / "stack", tools, program)
    stack.config |= {"tiny:greeting": "hello", "tiny:sleep": "60"}
    sessions = []
    start_process = stack._process
    monkeypatch.setattr(stack, "_process", lambda *given: sessions.append(start_process(*given)) or sessions[-1])
    with pytest.raises(AssertionError, match=r"pulumi preview .* not done after 3 s"):
        stack.preview(timeout=3)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(1)
    with pytest.raises(KeyboardInterrupt):
        stack.preview()
    assert [processes_of_session(one.pid) for one in sessions] == [[], []]


def test_a_killed_command_is_gone_with_all_that_it_started():
    busy = "for each in 1 2 3 4 5 6 7 8; do sh -c 'while :; do :; done' & done >/dev/null; echo started; wait"
    for _ in range(5):
        process = subprocess.Popen(["sh", "-c", busy], stdout=subprocess.PIPE, text=True, start_new_session=True)
        process.stdout.readline()
        kill(process)
        assert processes_of_session(process.pid) == []


def test_a_killed_engine_leaves_a_lock_that_cancel_releases(tools, tmp_path, program):
    stack = Stack(tmp_path / "stack", tools, program)
    stack.config |= {"tiny:greeting": "hello", "tiny:sleep": "60"}
    process = stack.start("up", "--yes", "--skip-preview")
    eventually(lambda: list(stack.folder.glob("backend/.pulumi/locks/**/*.json")))
    kill(process)
    assert processes_of_session(process.pid) == []
    stack.config["tiny:sleep"] = "0"
    assert "currently locked" in stack.up().expect(1).output
    stack.cancel().expect()
    stack.up().expect()
