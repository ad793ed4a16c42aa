"""Guards against a test run that is told to end and leaves clusters behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tools.bootstrap import CHECKOUT
from tools.processes import runs

TEST = """
import subprocess, sys, time

def test_it():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    left = subprocess.Popen(command, start_new_session=True)
    open({told!r}, "w").write(str(left.pid))
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("workers", "interrupt"),
    [
        pytest.param("-n1", lambda run: os.killpg(run.pid, signal.SIGINT), id="Ctrl-C"),
        pytest.param("-n0", subprocess.Popen.terminate, id="SIGTERM"),
    ],
)
def test_processes_of_its_tests_end_with_an_interrupted_run(tmp_path, workers, interrupt):
    told = tmp_path / "pid"
    (tmp_path / "test_it.py").write_text(TEST.format(told=str(told)))
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", workers, "-p", "tests.conftest", "--basetemp", tmp_path / "base", tmp_path],
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'tests'}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (told.exists() and told.read_text()):
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.1)
        interrupt(run)
        output, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert "KeyboardInterrupt" in output
    assert not runs(int(told.read_text()))
