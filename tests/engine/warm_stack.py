"""A stack whose program starts at once: its process is forked from one that has imported everything."""

import json
import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from pulumi.runtime.proto.language_pb2 import AboutResponse, GetRequiredPackagesResponse, RunRequest, RunResponse
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeServicer, add_LanguageRuntimeServicer_to_server

from tools.bootstrap import Toolset
from tools.stack import Stack

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["kmm.program"])
_HAS_SAID_WHY = 32  # a program ends so when the user has been told its error


class WarmStack(Stack):
    """A Stack with a language host of ours: imports and pip take more than half of a run.

    The program has a process, script, arguments and environment as Pulumi's host gives it. It ends with the engine.
    """

    def __init__(self, folder: Path, tools: Toolset) -> None:
        super().__init__(folder, tools)
        self._script = tools.binary("pulumi-language-python-exec")

    @contextmanager
    def language_host(self) -> Iterator[tuple[str, ...]]:
        """Serve the engine until the operation has ended."""
        with ThreadPoolExecutor() as threads:
            server = grpc.server(threads)
            add_LanguageRuntimeServicer_to_server(_LanguageHost(self._script, self.environment), server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield "--client", f"127.0.0.1:{port}"
            finally:
                server.stop(grace=None).wait()


class _LanguageHost(LanguageRuntimeServicer):
    """What the engine asks of pulumi-language-python where all plugins are there."""

    def __init__(self, script: Path, environment: Mapping[str, str]) -> None:
        self._script = str(script)
        self._environment = environment

    def About(self, request, context) -> AboutResponse:  # noqa: N802, names are the protocol's
        return AboutResponse()

    def GetRequiredPackages(self, request, context) -> GetRequiredPackagesResponse:  # noqa: N802
        return GetRequiredPackagesResponse()

    def Run(self, request: RunRequest, context: grpc.ServicerContext) -> RunResponse:  # noqa: N802
        process = _PROCESSES.Process(target=_run, args=(self._arguments(request), self._environment_of(request)))
        process.start()
        context.add_callback(process.terminate)  # the engine was killed, or waits for nothing but the program's end
        process.join()
        if process.exitcode in (0, _HAS_SAID_WHY):
            return RunResponse(bail=bool(process.exitcode))
        return RunResponse(error=f"program exited with non-zero exit code: {process.exitcode}")

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


def _run(arguments: list[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
