"""Guards against a demo on real nodes that shows something else than the kernel says, or leaves modules behind.

The story is that of `make demo REAL=1`, on the nodes of the other tests: the first builds, and a change of the kernel.
"""

import io
import re

import pytest
from rich.console import Console

from kmm.names import KERNEL_LABEL
from tools.demo.real_parts import SIGNER, workplace
from tools.demo.real_story import tear_down, tell
from tools.real.site import FOLDER

NOTHING = "no kmm_sample here"


@pytest.fixture
def place(site, tools, kubelet_node):
    return workplace(FOLDER / "demo", tools, site.cluster)


@pytest.fixture
def console(place):
    """Where the story is told; its stack goes with it."""
    yield recorder()
    tear_down(place, recorder())


def recorder():
    return Console(file=io.StringIO(), soft_wrap=True, highlight=False, emoji=False)


def chapters(console):
    """The story at its headings: in each the steps of Pulumi, and what the kernel answered, one by one."""
    for text in re.split(r"^\* .*\n", console.file.getvalue(), flags=re.MULTILINE):
        steps = {(sign, kind) for sign, kind in re.findall(r"^  ([-+~]) ([A-Z]\w+) ", text, re.MULTILINE)}
        yield steps, re.findall(r"^virtual-machine# .+\n((?:(?!virtual-machine# ).+\n)+)", text, re.MULTILINE)


def test_the_demo_tells_in_the_kernel_s_words_how_modules_come_move_and_go(site, virtual_machine, place, console):
    second = virtual_machine.kernels[1]
    tell(site, virtual_machine, place, console)
    before, loaded, changed, rebooted, followed = chapters(console)
    assert before == (set(), [f"{NOTHING}\n"])

    steps, (modules, greeting, signer, log) = loaded
    assert steps == {("+", "Job"), ("+", "DaemonSet")}
    assert set(modules.split()) >= {"kmm_sample", "kmm_sample_base"}
    assert greeting == "hello\n"
    assert signer == f"{SIGNER}\n"
    assert "firmware kmm_sample.bin: 43 bytes" in log
    assert log.endswith('kmm_sample: loaded, greeting "hello"\n')

    steps, (greeting, log) = changed
    assert steps == {("-", "Job"), ("~", "DaemonSet")}
    assert greeting == "good evening\n"
    assert re.search(r'unloaded\n.*\n.*loaded, greeting "good evening"\n$', log)

    assert rebooted == (set(), [f"{second}\n", f"{NOTHING}\n"])

    steps, (modules, log) = followed
    assert steps == {("+", "Job"), ("+", "DaemonSet"), ("-", "DaemonSet")}
    assert set(modules.split()) >= {"kmm_sample", "kmm_sample_base"}
    assert log.endswith('kmm_sample: loaded, greeting "good evening"\n')
    assert "unloaded" not in log
    labels = site.cluster.api.request("GET", f"/api/v1/nodes/{virtual_machine.name}")["metadata"]["labels"]
    assert labels[KERNEL_LABEL] == second.replace("+", "_")

    end = recorder()
    tear_down(place, end)
    ((steps, answers),) = chapters(end)
    assert steps >= {("-", "DaemonSet")}
    assert answers[0] == f"{NOTHING}\n"
    assert answers[1].endswith("kmm_sample: unloaded\n")
