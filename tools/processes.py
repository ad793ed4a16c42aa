"""Ending processes of which we are not the parent."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_PAUSE_SECONDS: Final = 0.01


def runs(process: int) -> bool:
    """Tell whether a process is there; one that ended, and that nobody waited for, has no command any more."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_all(find: Callable[[], Iterable[int]]) -> None:
    """Kill the processes that `find` returns until it finds none.

    They take a moment to end, and may have started others meanwhile. One that ended, and that nobody waited for, still
    has an entry in /proc; `find` has to leave it out.
    """
    while processes := list(find()):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
