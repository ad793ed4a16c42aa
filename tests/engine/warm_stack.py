"""A stack whose program and dynamic providers start at once: forked from a process that has imported everything."""

import gc
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import grpc
from pulumi.runtime.proto.language_pb2 import AboutResponse, GetRequiredPackagesResponse, RunRequest, RunResponse
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeServicer, add_LanguageRuntimeServicer_to_server

from tests.engine import warm_processes, warm_providers
from tools.bootstrap import CHECKOUT, Toolset
from tools.stack import Stack

_HAS_SAID_WHY = 32  # a program ends so when the user has been told its error
_GOES_ON_SECONDS = 5  # a program that was interrupted


class WarmStack(Stack):
    """A Stack with a language host of ours: imports and pip take more than half of a run.

    The program has a process of its own, with script, arguments and environment as Pulumi's host gives them, and is
    interrupted as there. What it writes itself, which users are shown, is an AssertionError here; where the engine
    was killed nobody is shown anything. `cold` alone runs the imports anew, and with sets in an order of its own.
    """

    def __init__(self, folder: Path, tools: Toolset, program: Path = CHECKOUT) -> None:
        super().__init__(folder, tools, program)
        self._tools = tools
        self._engine: subprocess.Popen[str] | None = None
        self.environment |= warm_providers.environment()

    def cold(self) -> Stack:
        """The same stack on Pulumi's own host."""
        cold = Stack(self.folder, self._tools, self.program)
        cold.config = self.config
        return cold

    @contextmanager
    def language_host(self) -> Iterator[tuple[str, ...]]:
        """Serve the engine until the operation has ended. Raises AssertionError with what the program wrote itself."""
        self._engine = None
        words = self.folder / "words"
        words.write_text("")
        try:
            with self._serving(words) as port:
                yield "--client", f"127.0.0.1:{port}"
        finally:
            killed = self._engine and self._engine.returncode == -signal.SIGKILL
            assert killed or not (written := words.read_text()), f"the program itself wrote:\n{written}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command, whose end decides whether the program's words are shown to anybody."""
        self._engine = super().start(*arguments)
        return self._engine

    @contextmanager
    def _serving(self, words: Path) -> Iterator[int]:
        host = _LanguageHost(str(self._tools.binary("pulumi-language-python-exec")), self.environment, words)
        with ThreadPoolExecutor() as threads:
            server = grpc.server(threads)
            add_LanguageRuntimeServicer_to_server(host, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield port
            finally:
                server.stop(grace=None).wait()


class _LanguageHost(LanguageRuntimeServicer):
    """What the engine asks of pulumi-language-python where all plugins are there."""

    def __init__(self, script: str, environment: Mapping[str, str], words: Path) -> None:
        self._script = script
        self._environment = environment
        self._words = words

    def About(self, request, context) -> AboutResponse:  # noqa: N802, names are the protocol's
        return AboutResponse()

    def GetRequiredPackages(self, request, context) -> GetRequiredPackagesResponse:  # noqa: N802
        return GetRequiredPackagesResponse()

    def Run(self, request: RunRequest, context: grpc.ServicerContext) -> RunResponse:  # noqa: N802
        given = self._arguments(request), self._environment_of(request), self._words
        process = warm_processes.start(_run, *given)
        exit_code = _wait(process, context)
        if exit_code in (0, _HAS_SAID_WHY):
            return RunResponse(bail=bool(exit_code))
        return RunResponse(error=f"program exited with non-zero exit code: {exit_code}")

    def _arguments(self, request: RunRequest) -> list[str]:
        options = {
            "monitor": request.monitor_address,
            "engine": request.args[0],
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.info.program_directory,
            "dry_run": str(request.dryRun).lower(),
            "parallel": str(request.parallel),
            "organization": request.organization,
        }
        return [self._script, *(f"--{key}={value}" for key, value in options.items()), request.info.entry_point]

    def _environment_of(self, request: RunRequest) -> dict[str, str]:
        config = {"PULUMI_CONFIG": dict(request.config), "PULUMI_CONFIG_SECRET_KEYS": list(request.configSecretKeys)}
        return {**self._environment, **{key: json.dumps(value) for key, value in config.items()}}


def _wait(process: ForkServerProcess, context: grpc.ServicerContext) -> int | None:
    """Return the program's exit code; interrupt it when the engine was killed, or waits for nothing else any more."""
    engine, end = multiprocessing.Pipe(duplex=False)
    if not context.add_callback(end.close):  # it has ended already
        end.close()
    wait([process.sentinel, engine])
    if warm_processes.exit_code(process) is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        wait([process.sentinel], _GOES_ON_SECONDS)
        process.kill()
        wait([process.sentinel])
    return warm_processes.exit_code(process)


def _run(arguments: list[str], environment: Mapping[str, str], words: Path) -> None:
    """Be the program."""
    warm_processes.take_over(environment, words, words)
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        gc.collect()  # what goes at the end of an interpreter may have something to say
