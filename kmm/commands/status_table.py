"""How Modules fare, as a table for people; on a terminal one that changes in place."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.live_render import LiveRender
from rich.text import Text

from kmm.commands.tables import Table, new_console, print_table
from kmm.names import ROLE_DEVICE_PLUGIN
from kmm.rollout import State
from kmm.status import Look, Row

_SHOWN_NODES: Final = 3
_SHOWN_LINES: Final = 5
_WORTH_A_LOOK: Final = (State.FAILED, State.WAITING, State.LEFT_OUT, State.BLOCKED)


def print_status(rows: Sequence[Row]) -> None:
    """Prints the table."""
    print_table(new_console(), status_table(rows))


@contextmanager
def live_status() -> Iterator[Callable[[Look], None]]:
    """Gives a function that shows how things are on the whole terminal; the last of it stays when it ends.

    What is not ready stands first: the terminal may not hold the rest.
    """
    last: Look | None = None

    def show(look: Look) -> None:
        nonlocal last
        last = look
        rows = sorted(look.rows, key=lambda row: not row.unready)
        live.update(LiveRender(Group(_clock(look), status_table(rows))), refresh=True)

    with Live(console=new_console(), screen=True, auto_refresh=False) as live:
        yield show
    if last is not None:
        print_status(last.rows)


def _clock(look: Look) -> Text:
    """That it is alive, also where nothing changes."""
    now = f"{datetime.now():%H:%M:%S}"
    if look.problem:
        return Text(f"{now} This is how it was before: {look.problem}\n", style="red")
    unready = sum(bool(row.unready) for row in look.rows)
    return Text(f"{now} {unready} of {len(look.rows)} not ready; Ctrl-C ends this\n", style="dim")


def status_table(rows: Sequence[Row]) -> Table:
    """One row for each Module and kernel; what is not ready is in words as well as in colour."""
    table = Table("MODULE", "KERNEL", "STACK", "READY", "WHY NOT", below=1)
    if not rows:
        table.add_row("-", "-", "-", "0/0", "no stack runs a Module in this cluster")
    for row in rows:
        what = "device plugin" if row.role == ROLE_DEVICE_PLUGIN else row.kernel or "-"
        what += f" (version {row.version})" if row.version else ""
        count = f"{row.ready}/{row.ready + len(row.unready)}"
        table.add_row(row.module, what, row.stack or "-", count, _why_not(row), style=_style(row))
    return table


def _style(row: Row) -> str:
    if any(one.state is State.FAILED for one in row.nodes):
        return "red"
    return "yellow" if row.unready or row.note else ""


def _why_not(row: Row) -> str:
    """The note, then what is worth a look first: pods that failed, those that wait, nodes that take no pods."""
    alike: dict[tuple[int, str], list[str]] = defaultdict(list)
    for outcome in row.nodes:
        if outcome.state in _WORTH_A_LOOK:
            alike[_WORTH_A_LOOK.index(outcome.state), outcome.words].append(outcome.node)
    lines = [f"{_names(nodes)}: {words}" for (_, words), nodes in sorted(alike.items())]
    more = [f"and {len(lines) - _SHOWN_LINES} more"] if len(lines) > _SHOWN_LINES else []
    return "\n".join([*([row.note] if row.note else []), *lines[:_SHOWN_LINES], *more])


def _names(nodes: Sequence[str]) -> str:
    if len(nodes) <= _SHOWN_NODES:
        return ", ".join(nodes)
    return f"{', '.join(nodes[:_SHOWN_NODES])} and {len(nodes) - _SHOWN_NODES} more"
