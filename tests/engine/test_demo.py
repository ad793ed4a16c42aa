"""Guards against a demo that does not show what it promises, can't be run again, or leaves something behind.

It runs in a copy of the checkout, as somebody with an empty home and Pulumi and kubectl settings of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkouts import copy_checkout
from tools.bootstrap import cache_folder

NEXT_KERNEL = "6.12.32+bpo-amd64"


class Reader:
    """Somebody who types commands in a copy of the checkout."""

    def __init__(self, folder):
        self.checkout = folder / "checkout"
        self.home = folder / "home"
        self.home.mkdir()
        copy_checkout(self.checkout)
        (self.checkout / ".venv").symlink_to(sys.prefix)  # where Pulumi.yaml has it
        self.environment = os.environ | {
            "HOME": str(self.home),
            "KMM_CACHE": str(cache_folder()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "KUBECONFIG": "/nowhere/the-user's-own",
            "PULUMI_BACKEND_URL": "file:///nowhere",
            "PULUMI_STACK": "the-user's-own",
        }
        self.before = self.files()

    def run(self, *command, code=0, **environment):
        """The output of a command, which ends with this exit code."""
        ended = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    def demo(self, command, **environment):
        return self.run(sys.executable, "-m", "tools.demo", command, **environment)

    def files(self):
        """All files but those in .kmm."""
        return {path for path in self.checkout.rglob("*") if ".kmm" not in path.parts}

    def processes(self):
        """Command lines of the processes that were started from here."""
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue  # ended meanwhile
        return [line for line in lines if str(self.checkout) in line]


pytestmark = pytest.mark.xdist_group("demo")  # the tests share one, and go on where the last one left it


@pytest.fixture(scope="module")
def reader(tools, tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("demo"))
    yield reader
    reader.demo("down")


@pytest.fixture(scope="module")
def first(reader):
    """Output of the first run."""
    return reader.demo("up")


def table(output, heading):
    """Rows of the first table after this column heading, as lists of cells."""
    lines = output[output.index(heading) :].splitlines()[2:]
    rows = lines[: lines.index("")]
    return [re.split(r"\s{2,}", row.strip()) for row in rows]


def test_it_shows_each_module_kernel_node_image_and_state(first):
    assert table(first, "MODULE ") == [
        [
            "drivers/amdgpu",
            "6.11.0-26-generic",
            "gpu-3",
            "kmods/amdgpu:6.12.12-hwe-6.11.0-26-generic",
            "loaded on 1 of 1",
        ],
        ["6.8.0-60-generic", "gpu-1, gpu-2", "kmods/amdgpu:6.12.12-6.8.0-60-generic", "loaded on 2 of 2"],
        ["device plugin", "gpu-1, gpu-2, gpu-3", "rocm/k8s-device-plugin:1.31.0.6", "running on 3 of 3"],
        [
            "drivers/drbd",
            "5.14.0-503.40.1.el9_5.x86_64",
            "storage-1, storage-2, storage-3",
            "kmods/drbd:9.2.14-5.14.0-503.40.1.el9_5.x86_64",
            "loaded on 3 of 3",
        ],
        ["drivers/kmm-sample", "5.10.0-35-amd64", "edge-5", "-", "not loaded: no kernel mapping matches"],
        ["6.1.0-32-amd64", "edge-3", "kmods/kmm-sample:6.1.0-32-amd64", "loaded on 1 of 1"],
        ["6.1.0-37-amd64", "edge-1, edge-2", "kmods/kmm-sample:6.1.0-37-amd64", "loaded on 2 of 2"],
    ]


def test_it_shows_ready_labels_and_why_nodes_have_none(first):
    rows = {name: words for name, _kernel, words in table(first, "NODE ")}
    assert len(rows) == 12
    assert rows["gpu-1"] == "drivers.amdgpu.device-plugin-ready, drivers.amdgpu.ready"
    assert rows["storage-1"] == "drivers.drbd.ready"
    assert rows["storage-4"] == "unschedulable: the node is cordoned"
    assert rows["edge-4"] == "taint maintenance=disk:NoSchedule is not tolerated"
    assert rows["edge-5"] == "drivers/kmm-sample: no kernel mapping matches"


def test_the_node_that_moves_makes_one_loader_come_and_one_go(first):
    output = first[first.index("Now edge-3 boots") :]
    steps = re.findall(r"^  ([-+~]) DaemonSet (\S+?)-[0-9a-f]{10}$", output, re.MULTILINE)
    assert sorted(steps) == [
        ("+", "drivers/kmm-sample/kmm-sample-6-12-32-bpo-amd64"),
        ("-", "drivers/kmm-sample/kmm-sample-6-1-0-32-amd64"),
    ]
    assert "The other 5 DaemonSets were not touched.\n" in output
    assert [NEXT_KERNEL, "edge-3", "kmods/kmm-sample:6.12.32_bpo-amd64", "loaded on 1 of 1"] in table(output, "MODULE ")


def test_all_that_pulumi_said_is_in_the_logs_it_names(reader, first):
    logs = re.findall(r"Full output: (\S+)", first)
    assert len(logs) == 3
    assert [(reader.checkout / log).read_text().split()[0] for log in logs] == ["Previewing", "Updating", "Updating"]


def test_the_commands_that_it_proposes_reach_its_cluster_and_stack(reader, first):
    run = str(reader.checkout / ".kmm/demo/run")
    assert len(reader.run(run, "kubectl", "get", "nodes", "-o", "name").split()) == 12
    assert reader.run(run, "pulumi", "preview", "--expect-no-changes", "--non-interactive")
    assert "build" not in reader.run(run, "python", "-m", "kmm", "plan", "--modules", ".kmm/demo/modules")


def test_it_goes_on_after_its_processes_were_lost_but_not_two_at_a_time_and_shows_the_same(reader, first):
    for file in [*reader.checkout.glob(".kmm/demo/cluster/**/pids/*.pid"), reader.checkout / ".kmm/demo/registry/pid"]:
        os.kill(int(file.read_text()), 9)
    command, pipe = [sys.executable, "-m", "tools.demo", "up"], subprocess.PIPE
    with subprocess.Popen(command, cwd=reader.checkout, env=reader.environment, stdout=pipe, text=True) as running:
        running.stdout.readline()
        reader.run(*command, code=1)
        again, _ = running.communicate()
    assert running.returncode == 0
    assert table(again, "MODULE ") == table(first, "MODULE ")
    assert table(again, "NODE ") == table(first, "NODE ")
    assert "The other 5 DaemonSets were not touched." in again


def test_down_leaves_no_process_and_no_file(reader, first):
    reader.demo("down")
    assert reader.processes() == []
    assert [path.name for path in (reader.checkout / ".kmm").iterdir()] == ["demo.lock"]
    assert reader.files() == reader.before
    assert list(reader.home.iterdir()) == []
    assert reader.demo("down") == "No demo is there.\n"


def test_without_tools_it_shows_the_plan_and_the_manifests_and_says_what_it_left_out(reader, tmp_path):
    output = reader.demo(
        "up",
        KMM_CACHE=str(tmp_path),
        KMM_TOOLS_MIRROR="/nowhere",
        PATH="/usr/bin:/bin",
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert "drivers/amdgpu" in output
    assert "kind: DaemonSet" in output
    assert "could not be had" in output
    assert "\nLEFT OUT: all that needs the engine" in output
