"""The demo's Pulumi: real CLI, a `file://` backend; shows a command's steps and logs every word of it."""

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.status import Status

from tools.bootstrap import CHECKOUT

# "+ kubernetes:apps/v1:DaemonSet NAME created (0.2s)"; in a preview "create" stands for "created (…)".
_STEP: Final = re.compile(
    r"^ ([-+~]+) +\S*:(\w+) (\S+) (?:created|updated|deleted|replaced|create|update|delete|replace)\b"
)
_STYLES: Final = {"+": "green", "-": "red", "~": "yellow"}
_SHOWN: Final = frozenset({"DaemonSet", "Job"})


class EngineError(Exception):
    """A Pulumi command failed; the text is what it said and where all of it is."""


class Engine:
    """A stack of this checkout; home, state, settings and logs are in `folder`."""

    def __init__(self, folder: Path, stack: str, environment: Mapping[str, str]) -> None:
        """`stack` has its settings in `stacks/`; `environment` is Pulumi's."""
        self._settings = folder / f"Pulumi.{stack}.yaml"
        self._folder = folder
        self._stack = stack
        self._environment = environment
        self._logs = 0

    def exists(self) -> bool:
        """Tell whether the stack was created."""
        return self._settings.exists()

    def prepare(self, modules: Path) -> None:
        """Create the stack unless it is there, and write its settings: those of `stacks/`, with these Modules."""
        if self.exists():
            self.cancel()
        else:
            # In a folder of its own: the CLI writes the stack's salt beside the project it finds.
            project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["name"]
            (self._folder / "Pulumi.yaml").write_text(json.dumps({"name": project, "runtime": "python"}))
            self._output("stack", "init", self._stack, folder=self._folder)
        given = yaml.safe_load((CHECKOUT / "stacks" / self._settings.name).read_text())["config"]
        settings = given | {"kmm:modules": [str(modules)]}
        salt = yaml.safe_load(self._settings.read_text())["encryptionsalt"]
        self._settings.write_text(json.dumps({"encryptionsalt": salt, "config": settings}, indent=2))

    def cancel(self) -> None:
        """Unlock what a killed run left locked; no other runs in this checkout."""
        self._output("cancel", "--yes", self._stack)

    def forget(self) -> None:
        """Remove the state, which is of no use without its cluster."""
        self._settings.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "backend")
        (self._folder / "backend").mkdir()

    def run(self, console: Console, command: str, *options: str) -> None:
        """Run an operation on the stack and show its steps; raises EngineError with what went wrong."""
        self._logs += 1
        log = self._folder.parent / f"{self._logs}-{command}.log"
        console.print(f"$ pulumi {shlex.join([command, *options])}", style="bold")
        started = time.monotonic()
        with (
            console.status(f"pulumi {command}") as status,
            log.open("w") as file,
            self._start(command, *options, folder=CHECKOUT) as process,
        ):
            view = _View(console, status)
            for line in process.stdout or ():
                file.write(line)
                view.show(line.rstrip())
        if process.returncode != 0:
            raise EngineError(f"pulumi {command} failed:\n{view.diagnostics}\nFull output: {log.relative_to(CHECKOUT)}")
        seconds = time.monotonic() - started
        console.print(f"  {view.summary}. {seconds:.0f} s. Full output: {log.relative_to(CHECKOUT)}\n", style="dim")

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        outputs: dict[str, Any] = json.loads(self._output("stack", "output", "--json"))
        return outputs

    def _output(self, *arguments: str, folder: Path = CHECKOUT) -> str:
        process = self._start(*arguments, folder=folder)
        output, _ = process.communicate()
        if process.returncode != 0:
            raise EngineError(f"pulumi {shlex.join(arguments)} failed:\n{output}")
        return output

    def _start(self, *arguments: str, folder: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class _View:
    """Shows what a reader wants to see of an operation's output, line by line; keeps its summary and diagnostics."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._steps: set[str] = set()
        self._section = ""
        self._lines: dict[str, list[str]] = {"Diagnostics": [], "Resources": []}

    def show(self, line: str) -> None:
        """Take one line of the output."""
        if line[:1].isalpha():
            self._section = line.partition(":")[0]
        if self._section in self._lines:
            self._lines[self._section].append(line)
            if line.startswith("    warning: "):
                self._console.print(f"  ! {line.removeprefix('    warning: ')}", style="yellow", markup=False)
        elif (step := _STEP.match(line)) and line not in self._steps:
            self._steps.add(line)
            self._show_step(*step.groups())

    @property
    def summary(self) -> str:
        """Number of resources by what was done to them."""
        counts = (re.sub(r"^\d+ changes\. ", "", line.strip()) for line in self._lines["Resources"][1:])
        return ", ".join(filter(None, counts))

    @property
    def diagnostics(self) -> str:
        """Errors and warnings."""
        return "\n".join(self._lines["Diagnostics"][1:]).rstrip()

    def _show_step(self, sign: str, kind: str, name: str) -> None:
        self._status.update(f"{len(self._steps)} steps, last: {kind} {name}")
        if kind in _SHOWN:
            self._console.print(f"  {sign} {kind} {name}", style=_STYLES.get(sign, ""))
