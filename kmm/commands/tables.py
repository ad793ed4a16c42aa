"""Tables for people. Nothing is cut off: a narrow terminal folds, a pipe gets all the width it needs.

Colours only on terminals, and not with `NO_COLOR` (rich sees to both).
"""

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def new_console() -> Console:
    """Standard output, with text printed as it is: names may hold what looks like markup."""
    return Console(markup=False, highlight=False, emoji=False)


def can_write_over() -> bool:
    """Whether standard output is a terminal on which a table can stand in the place of a former one."""
    console = new_console()
    return console.is_terminal and not console.is_dumb_terminal


def new_table(*columns: str) -> Table:
    """A table without rows."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_table(console: Console, table: Table) -> None:
    """Prints the table, in its full width where there is no terminal."""
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    console.print(table)
