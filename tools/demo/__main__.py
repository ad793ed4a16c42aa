"""`python -m tools.demo up|down`, which `make demo` and `make demo-down` run."""

import argparse
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tools.bootstrap import CHECKOUT, PINS, BootstrapError, ensure
from tools.cluster import Cluster, EmbeddedClusterError
from tools.demo import real_story
from tools.demo.engine import EngineError
from tools.demo.parts import Demo
from tools.demo.real_parts import workplace
from tools.demo.story import tear_down, tell
from tools.demo.without_engine import tell_without_engine
from tools.real import site
from tools.real.packages import RealNodesError, require_root
from tools.real.site import Site, remove_leftovers
from tools.registry import RegistryStartError

FOLDER = CHECKOUT / ".kmm/demo"
REAL_FOLDER = site.FOLDER / "demo"  # goes with its nodes


class _BusyError(Exception):
    """Another demo runs in this checkout."""


_START_AFRESH = "To start afresh: make demo-down demo"
_END_REAL_NODES = "To end real nodes as they are: sudo .venv/bin/python -m tools.real down"
_GOES_ON = "`make demo` goes on, `make demo-down` ends it."
_REAL_GOES_ON = "`sudo make demo REAL=1` begins anew, `sudo make demo-down` ends it."
_ERRORS = (BootstrapError, EmbeddedClusterError, EngineError, RealNodesError, RegistryStartError, _BusyError)


def main() -> int:
    """Exit codes: 0 done, or as much of it as can be done without an engine; 1 failed; 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--real", action="store_true", help="up: on a kubelet and a virtual machine, as root")
    arguments = parser.parse_args()
    real = arguments.real or (arguments.command == "down" and REAL_FOLDER.exists())
    try:
        with _alone():
            if arguments.command == "down":
                return _down()
            return _up_on_real_nodes() if arguments.real else _up()
    except _ERRORS as error:
        print(f"{error}\n{_END_REAL_NODES if real else _START_AFRESH}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"{error}: perhaps it is root's. Run the same command with sudo.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_REAL_GOES_ON if real else _GOES_ON}", file=sys.stderr)
        return 130


def _up() -> int:
    try:
        tools = ensure()
    except BootstrapError as error:
        return tell_without_engine(str(error))
    tell(Demo(FOLDER, tools), _console())
    return 0


def _up_on_real_nodes() -> int:
    """Each time from the start: a disk of the virtual machine takes seconds to make."""
    require_root()
    console = _console()
    tools = ensure(tuple(PINS))
    nodes = Site(tools)
    with console.status("Starting the control plane, a kubelet and a virtual machine: 2 minutes, 6 the first time"):
        nodes.start()
        nodes.start_kubelet_node()
        machine = nodes.start_virtual_machine()
    real_story.tell(nodes, machine, workplace(REAL_FOLDER, tools, nodes.cluster), console)
    return 0


def _down() -> int:
    console = _console()
    if not (FOLDER.exists() or REAL_FOLDER.exists()):
        print("No demo is there.")
        return 0
    if REAL_FOLDER.exists():
        require_root()
    tools = ensure()
    if FOLDER.exists():
        tear_down(Demo(FOLDER, tools), console)
    if REAL_FOLDER.exists():
        real_story.tear_down(workplace(REAL_FOLDER, tools, Cluster(site.CLUSTER_FOLDER, tools)), console)
        remove_leftovers(tools)
        console.print("The demo on real nodes is gone: modules, stack, nodes, cluster, registry and their files.")
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
