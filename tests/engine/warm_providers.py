"""Dynamic providers that start at once: for the engine `warm_python` is Python, and has one forked from here."""

import fcntl
import io
import os
import runpy
import select
import signal
import socket
import struct
import sys
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from threading import Thread

from tests.engine import warm_processes

_PYTHON = Path(__file__).with_name("warm_python")
_MODULE = "pulumi.dynamic"
_CREDENTIALS = struct.Struct("3i")  # of the peer: process, user and group


@cache
def environment() -> dict[str, str]:
    """Return the variables by which an engine's dynamic providers are forked from a warm process, as long as we run."""
    server = ThreadingUnixStreamServer("", _Handler)  # an address of the kernel's choice, no file
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return {
        "PULUMI_PYTHON_CMD": str(_PYTHON),
        "WARM_PYTHON": sys.executable,
        "WARM_PROVIDERS": bytes(server.server_address).hex(),
    }


class _Handler(BaseRequestHandler):
    """One start; the connection lasts as long as both processes."""

    def handle(self) -> None:
        credentials = self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        started, _, _ = _CREDENTIALS.unpack(credentials)
        wait([warm_processes.start(_provide, started, self.request).sentinel])


def _provide(started: int, connection: socket.socket) -> None:
    """Be the process `started`, as long as that lives: this one ends a moment after it."""
    _die_with(connection)
    connection.send(str(os.getpid()).encode())
    process = Path(f"/proc/{started}")
    folder, command = (process / "cwd").readlink(), _words(process / "cmdline")
    variables = dict(variable.split("=", 1) for variable in _words(process / "environ"))
    warm_processes.take_over(variables, process / "fd/1", process / "fd/2")
    sys.stdout, sys.stderr = map(_unbuffered, (1, 2))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = command[command.index(_MODULE) :]
    runpy.run_module(_MODULE, run_name="__main__", alter_sys=True)


def _die_with(connection: socket.socket) -> None:
    """Have the kernel kill this process in the moment in which the other end of the connection closes."""
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
    if select.select([connection], [], [], 0)[0]:
        raise SystemExit


def _words(file: Path) -> list[str]:
    return os.fsdecode(file.read_bytes()).rstrip("\0").split("\0")


def _unbuffered(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), write_through=True)
