"""Processes that start at once: each is forked from one that has imported everything."""

import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tools.bootstrap import CHECKOUT

_PROCESSES = multiprocessing.get_context("forkserver")
_PRELOADED = "tests.engine.warm_imports"
_PROCESSES.set_forkserver_preload([_PRELOADED])


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that calls `target`, which begins with `take_over`."""
    process = _PROCESSES.Process(target=target, args=arguments)
    process.start()
    return process


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
