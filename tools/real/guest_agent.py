"""Commands in the virtual machine through QEMU's guest agent: they need neither its network nor Kubernetes."""

import base64
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tools.real.packages import RealNodesError

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ANSWER_WITHIN_SECONDS: Final = 20


class GuestAgentError(RealNodesError):
    """The guest agent refused a command or gave no answer."""


class GuestAgent:
    """The agent behind the UNIX socket `path`; see QEMU's "QEMU Guest Agent Protocol Reference"."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_up(self) -> bool:
        """Tell whether the agent answers."""
        try:
            self._ask("guest-ping")
        except GuestAgentError:
            return False
        return True

    def run(self, *command: str, within_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine and return its exit status and output.

        Raises GuestAgentError when it does not end in time or the agent does not answer.
        """
        pid = self.start(*command)
        deadline = time.monotonic() + within_seconds
        while not (status := self._ask("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > deadline:
                raise GuestAgentError(f"{' '.join(command)} did not end within {within_seconds} s")
            time.sleep(0.1)
        streams = ("out-data", "err-data")
        out, err = (base64.b64decode(status.get(stream, "")).decode(errors="replace") for stream in streams)
        # A command that a signal ended has no exit code.
        return subprocess.CompletedProcess(command, status.get("exitcode", -status.get("signal", 0)), out, err)

    def start(self, *command: str) -> int:
        """Start a command in the machine and return its process id there."""
        program, *arguments = command
        exec_ = {"path": program, "arg": arguments, "env": [_PATH], "capture-output": True}
        pid: int = self._ask("guest-exec", **exec_)["pid"]
        return pid

    def _ask(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 (JSON)
        try:
            answer = self._exchange({"execute": name, "arguments": arguments})
        except OSError as error:
            raise GuestAgentError(f"{name}: the guest agent of the virtual machine does not answer: {error}") from None
        if "error" in answer:
            raise GuestAgentError(f"{name}: {answer['error']['desc']}")
        return answer["return"]

    def _exchange(self, question: dict[str, object]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_WITHIN_SECONDS)
            connection.connect(str(self._path))
            # Without a sync an answer to a question of before could be taken for ours; 0xFF resets the agent's parser.
            token = time.monotonic_ns() % 2**31
            sync = {"execute": "guest-sync", "arguments": {"id": token}}
            connection.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
            with connection.makefile("r", encoding="utf-8", errors="replace") as answers:
                while _answer(answers.readline()).get("return") != token:
                    pass
                connection.sendall(json.dumps(question).encode() + b"\n")
                return _answer(answers.readline())


def _answer(line: str) -> dict[str, Any]:
    if not line:
        raise GuestAgentError("the virtual machine has ended")
    answer: dict[str, Any] = json.loads(line.strip("\xff\ufffd\n"))
    return answer
