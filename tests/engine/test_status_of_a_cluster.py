"""Guards against a status that differs from what the cluster shows, writes to it, or ends with the wrong exit code."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from commands import kmm
from terminal import Terminal

from kmm.cluster import connect
from kmm.names import ROLE_MODULE_LOADER
from tests.engine.deployment import KERNEL, NEXT_KERNEL, eventually


@pytest.fixture
def status(cluster):
    def run(*arguments, code=0):
        finished = kmm("status", "--kubeconfig", cluster.kubeconfig, *arguments)
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout

    return run


def own(text, namespace):
    return [one for one in json.loads(text)["workloads"] if one["namespace"] == namespace]


def test_what_is_deployed_is_ready_by_its_files_and_without_them(cluster, deployment, nodes, status):
    first = nodes.add(KERNEL, 2)
    second = nodes.add(NEXT_KERNEL)
    deployment.write(plugin=True)
    before = own(status("--modules", deployment.folder, "-o", "json", code=3), deployment.namespace)
    assert [(one["ready"], one["wanted"]) for one in before] == [(0, 1), (0, 2), (0, 3)]
    deployment.stack.up().expect()
    written = deployment.content()
    by_files = own(status("--modules", deployment.folder, "-o", "json"), deployment.namespace)
    everything = kmm("status", "--kubeconfig", cluster.kubeconfig, "-o", "json")  # also what other tests wait for
    running = own(everything.stdout, deployment.namespace)
    assert running == by_files
    assert [(one["kernel"], [node["node"] for node in one["nodes"]]) for one in running] == [
        (NEXT_KERNEL, second),
        (KERNEL, first),
        (None, first + second),
    ]
    assert {node["state"] for one in running for node in one["nodes"]} == {"ready"}
    assert deployment.content() == written


def test_a_pod_that_crashes_shows_its_last_words_and_exit_code_3(cluster, deployment, kubelet, status):
    (name,) = kubelet.add_nodes()
    deployment.write()
    deployment.write("other")
    deployment.stack.config["kmm:rollout"] = {"wait": False}
    deployment.stack.up().expect()
    module = f"{deployment.namespace}/kmod"
    eventually(lambda: len(deployment.pods()) == 2)
    pod, _ = sorted(deployment.pods(), key=lambda pod: pod["metadata"]["name"])
    found = connect(str(cluster.kubeconfig)).pods(ROLE_MODULE_LOADER, modules={module})
    assert [one.name for one in found] == [pod["metadata"]["name"]]
    kubelet.crash(pod, "modprobe: ERROR: could not insert 'kmod': Exec format error")
    table = status("--modules", deployment.folder, code=3)
    assert f"{name}: pod {pod['metadata']['name']}" in table
    assert "could not insert 'kmod': Exec format error" in table
    assert "built for another kernel" in table
    options = ["--node", name, "--modules", deployment.folder, "--kubeconfig", cluster.kubeconfig]
    explained = kmm("explain", module, *options)
    assert explained.returncode == 0, explained.stderr
    assert f"{module} is not loaded on node {name}" in explained.stdout
    assert "could not insert 'kmod': Exec format error" in explained.stdout


def test_watching_shows_each_change_in_a_pipe_and_on_a_terminal_until_ctrl_c(cluster, deployment, nodes):
    nodes.add(KERNEL)
    deployment.write()
    deployment.write("idle", selector={"no": "node"})
    arguments = ["status", "--watch", "--modules", deployment.folder, "--kubeconfig", cluster.kubeconfig]
    with Terminal(*arguments, columns=60, lines=8) as terminal, watching(*arguments, "-o", "json") as pipe:
        terminal.read_until(lambda: "1 of 2 not ready" in terminal.screen and "..." in terminal.screen)
        assert "kmod" in terminal.screen
        assert "idle" not in terminal.screen  # all is well there
        assert all(len(line) <= 60 for line in terminal.screen.splitlines())  # and what does not fit is cut, not lost
        assert json.loads(pipe.stdout.readline())["ready"] is False
        terminal.resize(120, 30)
        deployment.stack.up().expect()
        terminal.read_until(lambda: " 1/1 " in terminal.screen)
        deployment.write(modprobe={"parameters": ["debug=1"]})
        terminal.read_until(lambda: "the definition has changed since" in terminal.screen)
        terminal.type("\x03")
        assert terminal.end() == 0
        assert " 1/1 " in terminal.screen  # stays there
        assert "Ctrl-C" not in terminal.screen
        deadline = time.monotonic() + 60
        while not json.loads(pipe.stdout.readline())["ready"]:
            assert time.monotonic() < deadline
        pipe.kill()
        assert pipe.communicate()[1] == ""


@contextmanager
def watching(*arguments):
    """The running command in a pipe."""
    command = [sys.executable, "-m", "kmm", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
