"""A throw-away Pulumi stack: real CLI and engine, everything of it in one folder, the program run in place."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tools.bootstrap import CHECKOUT, Toolset
from tools.environment import pulumi_environment
from tools.processes import kill_all, runs

NAME = "test"
_CANCEL_SECONDS = 15


@dataclass(frozen=True)
class Step:
    """What the engine did, or in a preview would do, to one resource: `op` is `create`, `update`, `delete`, …"""

    op: str
    urn: str

    @property
    def type(self) -> str:
        """The resource's type token without its parents', such as `kubernetes:apps/v1:DaemonSet`."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.split("::", 3)[3]


@dataclass(frozen=True)
class Result:
    """How one command ended: `output` is stdout and stderr in the order of writing, `events` the engine's log."""

    command: tuple[str, ...]
    exit_code: int
    output: str
    events: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @cached_property
    def changes(self) -> dict[str, int]:
        """Number of resources per kind of change, without the unchanged; empty when nothing changed."""
        counts: dict[str, int] = next(
            (event["summaryEvent"]["resourceChanges"] for event in self.events if "summaryEvent" in event), {}
        )
        return {op: count for op, count in counts.items() if op != "same"}

    @cached_property
    def steps(self) -> list[Step]:
        """The steps in the order in which they began, without those that change nothing."""
        begun = [event["resourcePreEvent"]["metadata"] for event in self.events if "resourcePreEvent" in event]
        return [Step(step["op"], step["urn"]) for step in begun if step["op"] != "same"]

    def expect(self, exit_code: int = 0) -> "Result":
        """Return this result, or raise AssertionError with the whole output when it ended otherwise."""
        if self.exit_code != exit_code:
            raise AssertionError(f"{' '.join(self.command)}: exit {self.exit_code}, not {exit_code}\n{self.output}")
        return self


class Stack:
    """Stack `test` of the program in `program`, with home, backend and configuration in `folder`.

    `config` holds the stack configuration, written before each command: `stack.config["kmm:modules"] = [...]`.
    The user's own Pulumi and kubeconfig are out of reach; `environment` may be added to.
    """

    def __init__(self, folder: Path, tools: Toolset, program: Path = CHECKOUT) -> None:
        """Create the stack, in a folder of its own so that nothing is written into the program's; or find it there."""
        self.folder = folder.absolute()
        self.program = program
        self.config: dict[str, Any] = {}
        # The event log is an option of the debug commands.
        self.environment = pulumi_environment(tools, self.folder) | {"PULUMI_DEBUG_COMMANDS": "true"}
        self._config_file = self.folder / f"Pulumi.{NAME}.yaml"
        project = yaml.safe_load((program / "Pulumi.yaml").read_text())["name"]
        (self.folder / "Pulumi.yaml").write_text(json.dumps({"name": project, "runtime": "python"}))
        if not self._config_file.exists():
            self._command("stack", "init", "--no-select", NAME, cwd=self.folder).expect()
        self._salt = yaml.safe_load(self._config_file.read_text())["encryptionsalt"]

    def preview(self, *options: str, timeout: float = 120) -> Result:
        """Run `pulumi preview`."""
        return self._operation("preview", *options, timeout=timeout)

    def up(self, *options: str, timeout: float = 240) -> Result:
        """Run `pulumi up` as documented: on after a failure, so that what is not needed any more still goes."""
        return self._operation("up", "--yes", "--skip-preview", "--continue-on-error", *options, timeout=timeout)

    def destroy(self, *options: str, timeout: float = 240) -> Result:
        """Run `pulumi destroy`."""
        return self._operation("destroy", "--yes", "--skip-preview", "--continue-on-error", *options, timeout=timeout)

    def cancel(self) -> Result:
        """Run `pulumi cancel`: release the lock that a killed engine left."""
        return self._command("cancel", "--yes", NAME)

    def run(self, *arguments: str, timeout: float = 60) -> Result:
        """Run any other command on this stack, such as `run("import", …)` or `run("state", "delete", URN)`."""
        return self._command(*arguments, "--stack", NAME, timeout=timeout)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        outputs: dict[str, Any] = json.loads(self.run("stack", "output", "--json", "--show-secrets").expect().output)
        return outputs

    def state(self) -> dict[str, Any]:
        """Return the stack's deployment, as `pulumi stack export` gives it."""
        exported: dict[str, Any] = json.loads(self.run("stack", "export").expect().output)
        return exported["deployment"] or {}

    @contextmanager
    def language_host(self) -> Iterator[tuple[str, ...]]:
        """Give the options by which an operation runs its program; without any, it starts Pulumi's own host."""
        yield ()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command and return its process, for tests that kill the engine; see `kill`."""
        self._write_config()
        options = ("--stack", NAME, "--config-file", str(self._config_file))
        return self._process((*arguments, *options), self.program)

    def _operation(self, *arguments: str, timeout: float) -> Result:
        self._write_config()
        log = self.folder / "events.json"
        log.unlink(missing_ok=True)
        options = ("--config-file", str(self._config_file), "--event-log", str(log))
        with self.language_host() as host:
            result = self.run(*arguments, *options, *host, timeout=timeout)
        lines = log.read_text().splitlines() if log.exists() else []
        return Result(result.command, result.exit_code, result.output, tuple(json.loads(line) for line in lines))

    def _command(self, *arguments: str, timeout: float = 60, cwd: Path | None = None) -> Result:
        process = self._process(arguments, cwd or self.program)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            output = end(process)
            raise AssertionError(f"pulumi {' '.join(arguments)}: not done after {timeout} s\n{output}") from None
        except BaseException:  # such as Ctrl-C, which does not reach its session
            end(process)
            raise
        return Result(("pulumi", *arguments), process.returncode, output)

    def _process(self, arguments: tuple[str, ...], cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # `kill` finds providers and language host by it
        )

    def _write_config(self) -> None:
        self._config_file.write_text(json.dumps({"encryptionsalt": self._salt, "config": self.config}))


def end(process: subprocess.Popen[str]) -> str:
    """Cancel a running command as Ctrl-C does, kill it when that takes too long, and return its output."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_CANCEL_SECONDS)
    return kill(process)


def kill(process: subprocess.Popen[str]) -> str:
    """Kill a command with all processes it started, as a lost machine would, and return its output.

    The engine gives each provider a process group, so they are found by their session.
    """
    process.kill()  # first, so that it starts nothing more
    kill_all(lambda: _processes_of_session(process.pid))
    output, _ = process.communicate()
    return output


def _processes_of_session(session: int) -> set[int]:
    found = set()
    for process in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(ProcessLookupError):
            if os.getsid(process) == session and runs(process):
                found.add(process)
    return found
