"""A command on a real pseudo-terminal, as people run it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_REDRAW = re.compile(r"\x1b\[H|\x1b\[\?1049[hl]")  # from the top of the screen, or on another screen


def _take_the_terminal():
    """Make Ctrl-C a signal, also where the tests run in the background: shells let that ignore it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`python -m kmm` on a terminal of this size; a context manager that ends it."""

    def __init__(self, *arguments, columns=100, lines=30, **environment):
        self.text = ""
        self._side, side = pty.openpty()
        self._resize(columns, lines)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "VIRTUAL_ENV")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kmm", *map(str, arguments)],
            stdin=side,
            stdout=side,
            stderr=side,
            env=kept | {"TERM": "xterm-256color"} | environment,
            start_new_session=True,
            preexec_fn=_take_the_terminal,  # noqa: PLW1509
        )
        os.close(side)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._side)

    @property
    def screen(self):
        """What stands there now, without colours."""
        return _CONTROL.sub("", _REDRAW.split(self.text)[-1])

    def resize(self, columns, lines):
        """As the user pulls at the window."""
        self._resize(columns, lines)
        self._process.send_signal(signal.SIGWINCH)

    def type(self, text):
        """What the user types; `\\x03` is Ctrl-C."""
        os.write(self._side, text.encode())

    def read_until(self, seen, seconds=60):
        """Read on until `seen()`."""
        deadline = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < deadline, self.text
            assert self._read(deadline - time.monotonic()), self.text

    def end(self, seconds=60):
        """Wait for the end of the command; its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(max(0, deadline - time.monotonic()))

    def _resize(self, columns, lines):
        fcntl.ioctl(self._side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, seconds):
        """Whether there was more; a terminal that nobody writes to any more is an OSError."""
        if not select.select([self._side], [], [], max(0, seconds))[0]:
            return False
        with suppress(OSError):
            content = os.read(self._side, 65536)
            self.text += content.decode(errors="replace")
            return bool(content)
        return False
