"""A local image registry: plain HTTP, by default on a free loopback port, everything of it in one folder."""

import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.bootstrap import Toolset
from tools.environment import tool_environment

_LISTENING = re.compile(r"listening on ([\d.]+:\d+)")
_READY_WITHIN_SECONDS = 20


class RegistryStartError(Exception):
    """The registry did not start; carries its log."""


class Registry:
    """A registry; a context manager that starts it and ends it. Images stay in `folder`."""

    def __init__(self, folder: Path, tools: Toolset, settings: Mapping[str, Any] | None = None) -> None:
        """`settings` is merged into the configuration, section by section."""
        self._settings = settings or {}
        self.folder = folder.absolute()
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """`ADDRESS:PORT`, as it goes into image names; empty until it listens."""
        found = _LISTENING.search(self.log)
        return found[1] if found else ""

    @property
    def pid(self) -> int | None:
        """The process, None when it was not started here."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What the registry wrote so far, its requests among it."""
        return self._log_file.read_text()

    def start(self) -> None:
        """Start it. Raises RegistryStartError when it does not listen in time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "registry.json"
        configuration.write_text(json.dumps(self._configuration()))
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [self._tools.binary("registry"), "serve", configuration],
                env=tool_environment(self._tools) | {"OTEL_TRACES_EXPORTER": "none"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the demo's outlives its terminal
            )
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        while not self.host:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RegistryStartError(f"The registry did not start.\n{self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process; its folder stays."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log_file(self) -> Path:
        return self.folder / "registry.log"

    def _configuration(self) -> dict[str, Any]:
        return {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "images")}},
            **self._settings,
            "http": {"addr": "127.0.0.1:0", "secret": "embedded", **self._settings.get("http", {})},
        }
