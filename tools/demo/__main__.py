"""`python -m tools.demo up|down`, which `make demo` and `make demo-down` run."""

import argparse
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tools.bootstrap import CHECKOUT, BootstrapError, ensure
from tools.cluster import EmbeddedClusterError
from tools.demo.engine import EngineError
from tools.demo.parts import Demo
from tools.demo.story import tear_down, tell
from tools.demo.without_engine import tell_without_engine
from tools.registry import RegistryStartError

FOLDER = CHECKOUT / ".kmm/demo"


class _BusyError(Exception):
    """Another demo runs in this checkout."""


def main() -> int:
    """Exit codes: 0 done, or as much of it as can be done without an engine; 1 failed; 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    arguments = parser.parse_args()
    try:
        with _alone():
            return _up() if arguments.command == "up" else _down()
    except (BootstrapError, EmbeddedClusterError, EngineError, RegistryStartError, _BusyError) as error:
        print(f"{error}\nTo start afresh: make demo-down demo", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `make demo` goes on, `make demo-down` ends it.", file=sys.stderr)
        return 130


def _up() -> int:
    try:
        tools = ensure()
    except BootstrapError as error:
        return tell_without_engine(str(error))
    tell(Demo(FOLDER, tools), _console())
    return 0


def _down() -> int:
    if FOLDER.exists():
        tear_down(Demo(FOLDER, ensure()), _console())
    else:
        print("No demo is there.")
    return 0


def _console() -> Console:
    """Tables fold to a terminal's width; a pipe has room for all of them."""
    return Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 250)


@contextmanager
def _alone() -> Iterator[None]:
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _BusyError("Another `make demo` or `make demo-down` runs in this checkout.") from error
        yield


if __name__ == "__main__":
    sys.exit(main())
