"""Tables for people. Nothing is cut off: a narrow terminal folds, a pipe gets all the width it needs.

Colours only on terminals, and not with `NO_COLOR` (rich sees to both).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

_UNLIMITED: Final = 100_000
_GAP: Final = 3
_INDENT: Final = 2
_LEAST: Final = 6
_NOTHING: Final = ("", "-")


class Table:
    """Cells under headings. Where the whole is too wide, the first column stands in a line above, the last ones below.

    Names of images and kernels stay in one piece that way, to be read and copied. It takes 26 characters at least.
    """

    def __init__(self, *columns: str, below: int = 0) -> None:
        """`below`: how many of the last columns; with none, wide cells fold in place."""
        self._columns = columns
        self._beside = len(columns) - below
        self._rows: list[tuple[Sequence[str], str]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row; where its first cell is empty, that of the row before counts."""
        self._rows.append((cells, style))

    def __len__(self) -> int:
        return len(self._rows)

    def width(self, console: Console) -> int:
        """How many characters wide it is with nothing below."""
        return _width(console, self._wide())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = self._wide()
        if self._beside == len(self._columns) or _width(console, wide) <= options.max_width:
            yield wide
        else:
            yield from self._narrow(console, options.max_width)

    def _wide(self) -> Grid:
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for column in self._columns:
            grid.add_column(column, overflow="fold")
        for cells, style in self._rows:
            grid.add_row(*cells, style=style)
        return grid

    def _narrow(self, console: Console, width: int) -> Iterator[Padding | Rule | Text]:
        widths = self._widths(console, width - _INDENT)
        yield Text(self._columns[0], style="bold")
        yield _line(self._columns[1 : self._beside], widths, "bold")
        yield Rule(style="default")
        above = ""
        for cells, style in self._rows:
            if cells[0] not in ("", above):
                above = cells[0]
                yield console.render_str(above, style="bold")
            yield _line(cells[1 : self._beside], widths, style)
            words = [console.render_str(cell) for cell in cells[self._beside :] if cell not in _NOTHING]
            if words:
                yield Padding(Text(" " * _GAP).join(words), (0, 0, 0, 2 * _INDENT), style=style)

    def _widths(self, console: Console, width: int) -> list[int]:
        """Those of the columns beside each other; where they do not fit, the last one is made smaller first."""
        rows = [self._columns, *(cells for cells, _ in self._rows)]
        widths = [max(console.render_str(row[index]).cell_len for row in rows) for index in range(1, self._beside)]
        excess = sum(widths) + _GAP * (len(widths) - 1) - width
        for index in reversed(range(len(widths))):
            cut = max(min(excess, widths[index] - _LEAST), 0)
            widths[index] -= cut
            excess -= cut
        return widths


def _width(console: Console, grid: Grid) -> int:
    return Measurement.get(console, console.options.update(max_width=_UNLIMITED), grid).maximum


def _line(cells: Sequence[str], widths: Sequence[int], style: str) -> Padding:
    grid = Grid.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    grid.add_row(*cells)
    return Padding(grid, (0, 0, 0, _INDENT), style=style)


def new_console() -> Console:
    """Standard output, with text printed as it is: names may hold what looks like markup."""
    return Console(markup=False, highlight=False, emoji=False)


def can_write_over() -> bool:
    """Whether standard output is a terminal on which a table can stand in the place of a former one."""
    console = new_console()
    return console.is_terminal and not console.is_dumb_terminal


def print_table(console: Console, table: Table) -> None:
    """Prints the table, in its full width where there is no terminal."""
    if not console.is_terminal:
        console.width = table.width(console)
    console.print(table)
