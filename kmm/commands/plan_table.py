"""The plan as tables for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table

from kmm.commands.tables import new_console, new_table, print_table
from kmm.plan import IgnoredNode, KernelPlan, ModulePlan, Plan

_SHOWN_NODES: Final = 3


def print_plan(plan: Plan) -> None:
    """Prints Modules with their kernels, then kernels to come, and nodes that some Module or all of them leave out."""
    console = new_console()
    print_table(console, _modules_table(plan))
    for table in (_future_table(plan), _ignored_table(plan.ignored)):
        if table.row_count:
            console.print()
            print_table(console, table)


def _modules_table(plan: Plan) -> Table:
    table = new_table("MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS")
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
        yield (name, kernel.version, _nodes(kernel.nodes), _image(kernel), _actions(kernel)), _style(kernel)


def _future_table(plan: Plan) -> Table:
    table = new_table("MODULE", "FUTURE KERNEL", "IMAGE", "ACTIONS")
    for module in plan.modules:
        for index, kernel in enumerate(module.future):
            name = "" if index else module.module.key
            table.add_row(name, kernel.version, _image(kernel), _actions(kernel), style=_style(kernel))
    return table


def _style(kernel: KernelPlan) -> str:
    return "yellow" if kernel.reason else ""


def _image(kernel: KernelPlan) -> str:
    return kernel.resolved.image if kernel.resolved else "-"


def _nodes(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN_NODES else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN_NODES])}{more}"


def _actions(kernel: KernelPlan) -> str:
    return f"none: {kernel.reason}" if kernel.reason else ", ".join(kernel.actions) or "none: nothing to make"


def _ignored_table(ignored: Sequence[IgnoredNode]) -> Table:
    table = new_table("IGNORED NODE", "REASON")
    for one in ignored:
        table.add_row(one.node, one.reason)
    return table
