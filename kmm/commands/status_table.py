"""How Modules fare, as a table for people; on a terminal one that changes in place."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.live import Live
from rich.table import Table

from kmm.commands.tables import new_console, new_table, print_table
from kmm.names import ROLE_DEVICE_PLUGIN
from kmm.rollout import Outcome, State
from kmm.status import Row

_SHOWN_NODES: Final = 5


@contextmanager
def table_display(watch: bool) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Gives a function that shows rows: below the former ones, or on a watched terminal in their place."""
    console = new_console()
    if watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda rows: live.update(status_table(rows), refresh=True)
    else:
        yield lambda rows: print_table(console, status_table(rows))


def status_table(rows: Sequence[Row]) -> Table:
    """One row for each Module and kernel; what is not ready is in words as well as in colour."""
    table = new_table("MODULE", "KERNEL", "STACK", "READY", "WHY NOT")
    if not rows:
        table.add_row("-", "-", "-", "0/0", "no stack runs a Module in this cluster")
    for row in rows:
        what = "device plugin" if row.role == ROLE_DEVICE_PLUGIN else row.kernel or "-"
        count = f"{row.ready}/{row.ready + len(row.unready)}"
        table.add_row(row.module, what, row.stack or "-", count, _why_not(row), style=_style(row))
    return table


def _style(row: Row) -> str:
    if any(one.state is State.FAILED for one in row.nodes):
        return "red"
    return "yellow" if row.unready or row.note else ""


def _why_not(row: Row) -> str:
    """The note, then what is worth a look first: pods that failed, those that wait, nodes that take no pods."""
    order = (State.FAILED, State.WAITING, State.LEFT_OUT)
    others = sorted((one for one in row.nodes if one.state in order), key=lambda one: order.index(one.state))
    told = [one for one in others if one.words != row.note]
    more = [f"and {len(told) - _SHOWN_NODES} more nodes"] if len(told) > _SHOWN_NODES else []
    return "\n".join([*([_note(row)] if row.note else []), *map(_line, told[:_SHOWN_NODES]), *more])


def _note(row: Row) -> str:
    skipped = [one.node for one in row.nodes if one.words == row.note]
    return f"{row.note} ({len(skipped)} nodes)" if skipped else row.note


def _line(outcome: Outcome) -> str:
    return f"{outcome.node}: {outcome.words}"
