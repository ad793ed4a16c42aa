"""Processes that start at once: each is forked from one that has imported everything."""

import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Lock
from typing import Any

from tools.bootstrap import CHECKOUT

_PROCESSES = multiprocessing.get_context("forkserver")
_PRELOADED = "tests.engine.warm_imports"
_PROCESSES.set_forkserver_preload([_PRELOADED])
_ONE_THREAD = Lock()  # asks how processes ended, which each start does, too: the kernel tells it once


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that calls `target`, which is to call `take_over`."""
    process = _PROCESSES.Process(target=target, args=arguments)
    with _ONE_THREAD:
        process.start()
    return process


def exit_code(process: ForkServerProcess) -> int | None:
    """Return how a process ended, None while it runs; wait for its `sentinel` before."""
    with _ONE_THREAD:
        return process.exitcode


def take_over(environment: Mapping[str, str], output: Path, errors: Path) -> None:
    """Be the process that was to start in `environment`, and write to the files of its streams."""
    for file, stream in ((output, 1), (errors, 2)):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, stream)
        os.close(descriptor)
    imported = importlib.import_module(_PRELOADED)  # multiprocessing hides what may have failed
    assert Path(imported.PROGRAM).is_relative_to(CHECKOUT)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # what was imported may have asked for it
