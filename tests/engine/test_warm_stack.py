"""Guards against a language host and dynamic providers of ours with which the tests see what no user does."""

import os
import signal
import subprocess

import pytest

from tests.engine.deployment import KERNEL, NEXT_KERNEL, UP, declared, eventually, running
from tests.engine.warm_stack import WarmStack
from tools.processes import runs
from tools.stack import kill

PRINTS = """
import sys
class Late:
    def __del__(self):
        print("at the end")
late = Late()
late.itself = late
print("to stdout")
print("to stderr", file=sys.stderr)
"""

IS_INTERRUPTED = """
import pathlib, signal
def interrupted(*_):
    print("last words")
    raise SystemExit
signal.signal(signal.SIGINT, interrupted)
pathlib.Path(FILE).touch()
signal.pause()
"""

PROVIDES = """
import os, signal, sys, time
from pulumi.dynamic import Resource, ResourceProvider
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
class Provider(ResourceProvider):
    def create(self, inputs):
        print("in", os.getcwd(), sys.path[0], sys.argv[0], len(sys.argv), os.environ["PULUMI_PROJECT"])
        print("to stderr", file=sys.stderr)
        if not inputs["file"]:
            raise ValueError("wrong")
        with open(inputs["file"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
class Provided(Resource):
    pass
Provided(Provider(), "provided", {"file": FILE})
"""


@pytest.fixture
def tiny(tools, tmp_path):
    """Makes a stack of a program."""

    def stack_of(program):
        folder = tmp_path / "program"
        folder.mkdir()
        (folder / "Pulumi.yaml").write_text("{name: tiny, runtime: python}")
        (folder / "__main__.py").write_text(program)
        return WarmStack(tmp_path / "stack", tools, folder)

    return stack_of


def test_a_program_on_it_tells_and_declares_what_it_does_on_pulumi_s_own(deployment):
    warm, cold = deployment.stack, deployment.stack.cold()
    warm.config["kmm:modules"] = ["missing.yaml"]
    assert words(warm.preview().expect(1)) == words(cold.preview().expect(1))

    for name in ("one", "two", "three"):
        deployment.write(name, plugin=True)
    for kernel, count in ((KERNEL, 2), (NEXT_KERNEL, 1), ("6.1.0-1", 1)):
        deployment.nodes.add(kernel, count)
    warm.up().expect()
    assert not declared(cold.preview("--diff").expect())


@pytest.mark.parametrize("program", ["raise ValueError('wrong')", "raise SystemExit(3)"])
def test_a_program_that_fails_on_it_tells_what_it_does_on_pulumi_s_own(tiny, program):
    stack = tiny(program)
    assert words(stack.preview().expect(1)) == words(stack.cold().preview().expect(1))


def test_what_a_program_itself_writes_fails_a_test_where_pulumi_s_own_host_shows_it(tiny):
    stack = tiny(PRINTS)
    with pytest.raises(AssertionError, match="to stdout\nto stderr\nat the end"):
        stack.preview()
    shown = map(str.strip, words(stack.cold().preview().expect()))
    assert {"to stdout", "to stderr", "at the end"} <= set(shown)


def test_what_a_program_writes_when_interrupted_fails_a_test_but_not_where_its_engine_was_killed(tiny, tmp_path):
    file = tmp_path / "waits"
    stack = tiny(IS_INTERRUPTED.replace("FILE", repr(str(file))))
    with pytest.raises(AssertionError, match="last words"), running(stack, *UP) as engine:
        eventually(file.exists)
        engine.send_signal(signal.SIGINT)
        engine.communicate(timeout=60)
    file.unlink()
    with running(stack, *UP) as engine:
        eventually(file.exists)
        kill(engine)
    assert "last words" in (stack.folder / "words").read_text()


def test_a_provider_that_fails_on_it_tells_what_it_does_on_pulumi_s_own(tiny):
    stack = tiny(PROVIDES.replace("FILE", "''"))
    warm, cold = (set(map(str.strip, words(run.up().expect(1)))) for run in (stack, stack.cold()))
    assert {"to stderr", "ValueError: wrong"} <= warm & cold
    (told,) = {line for line in warm & cold if line.startswith("in ")}
    assert str(stack.program) in told


def test_a_provider_on_it_is_no_process_of_its_engine_but_ends_with_it(tiny, tmp_path):
    file = tmp_path / "provider"
    stack = tiny(PROVIDES.replace("FILE", repr(str(file))))
    with running(stack, *UP) as engine:
        eventually(lambda: file.exists() and file.read_text())
        provider = int(file.read_text())
        assert os.getsid(provider) != os.getsid(engine.pid)
        kill(engine)
    eventually(lambda: not runs(provider), within=5)


def test_a_provider_on_it_ends_when_it_is_interrupted(tools, tmp_path):
    stack = WarmStack(tmp_path, tools)
    start = [stack.environment["PULUMI_PYTHON_CMD"], "-u", "-m", "pulumi.dynamic", "127.0.0.1:1"]
    with subprocess.Popen(start, env=stack.environment, stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdout.readline().strip().isdigit()
        provider.send_signal(signal.SIGINT)
        try:
            eventually(lambda: provider.poll() is not None, within=5)
        finally:
            provider.kill()


def words(result):
    """The output without progress: how often the engine shows that depends on time."""
    return [line for line in result.output.splitlines() if not line.startswith("@ ")]
