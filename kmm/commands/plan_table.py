"""The plan as tables for people. Nothing is cut off: a narrow terminal folds, a pipe gets all the width it needs."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from kmm.plan import IgnoredNode, KernelPlan, ModulePlan, Plan

_SHOWN_NODES: Final = 3


def print_plan(plan: Plan) -> None:
    """Prints Modules with their kernels, then the nodes that some Module or all of them leave out."""
    console = Console(markup=False, highlight=False, emoji=False)
    _print(console, _modules_table(plan))
    if plan.ignored:
        console.print()
        _print(console, _ignored_table(plan.ignored))


def _print(console: Console, table: Table) -> None:
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _modules_table(plan: Plan) -> Table:
    table = _table("MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS")
    for module in plan.modules:
        for row, style in _module_rows(module):
            table.add_row(*row, style=style)
    return table


def _module_rows(module: ModulePlan) -> Iterator[tuple[Sequence[str], str]]:
    """Cells and style of each row; the Module is named in its first one."""
    if not module.kernels:
        yield (module.module.key, "-", "0", "-", "none: no usable node matches its selector"), "yellow"
    for index, kernel in enumerate(module.kernels):
        name = "" if index else module.module.key
        image = kernel.resolved.image if kernel.resolved else "-"
        yield (name, kernel.version, _nodes(kernel.nodes), image, _actions(kernel)), "yellow" if kernel.reason else ""


def _nodes(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN_NODES else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN_NODES])}{more}"


def _actions(kernel: KernelPlan) -> str:
    return f"none: {kernel.reason}" if kernel.reason else ", ".join(kernel.actions)


def _ignored_table(ignored: Sequence[IgnoredNode]) -> Table:
    table = _table("IGNORED NODE", "REASON")
    for one in ignored:
        table.add_row(one.node, one.reason)
    return table
