"""The plan as tables for people."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kmm.changes import Change
from kmm.commands.change_words import change_action, change_remark, unloads
from kmm.commands.tables import Table, new_console, print_table
from kmm.plan import IgnoredNode, KernelPlan, ModulePlan, Plan

_SHOWN_NODES: Final = 3
_SHOWN_CHANGED_NODES: Final = 10


def print_plan(plan: Plan, changes: Sequence[Change] | None) -> None:
    """Prints Modules with their kernels, kernels to come, nodes that some Module or all leave out, and what changes."""
    console = new_console()
    print_table(console, _modules_table(plan))
    for table in (_future_table(plan), _ignored_table(plan.ignored), _changes_table(plan, changes or ())):
        if table:
            console.print()
            print_table(console, table)
    if changes is not None and not changes:
        console.print("\nNo module is loaded or unloaded: every loader is as planned.", soft_wrap=True)


def _modules_table(plan: Plan) -> Table:
    table = Table("MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS", below=2)
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
    table = Table("MODULE", "FUTURE KERNEL", "IMAGE", "ACTIONS", below=2)
    for module in plan.modules:
        for index, kernel in enumerate(module.future):
            name = "" if index else module.module.key
            table.add_row(name, kernel.version, _image(kernel), _actions(kernel), style=_style(kernel))
    return table


def _style(kernel: KernelPlan) -> str:
    return "yellow" if kernel.reason else ""


def _image(kernel: KernelPlan) -> str:
    return kernel.resolved.deployed_image if kernel.resolved else "-"


def _nodes(names: Sequence[str], shown: int = _SHOWN_NODES) -> str:
    more = ", …" if len(names) > shown else ""
    return f"{len(names)}: {', '.join(names[:shown])}{more}"


def _actions(kernel: KernelPlan) -> str:
    reason = kernel.reason or ("" if kernel.actions else "nothing to make")
    return ": ".join(filter(None, (", ".join(kernel.actions) or "none", reason)))


def _ignored_table(ignored: Sequence[IgnoredNode]) -> Table:
    table = Table("IGNORED NODE", "REASON")
    for one in ignored:
        table.add_row(one.node, one.reason)
    return table


def _changes_table(plan: Plan, changes: Iterable[Change]) -> Table:
    table = Table("CHANGED MODULE", "KERNEL", "CHANGE", "NODES", below=2)
    for change in changes:
        words = ": ".join(filter(None, (change_action(change), change_remark(plan, change))))
        nodes = _nodes(change.nodes, _SHOWN_CHANGED_NODES)
        table.add_row(change.module, change.kernel, words, nodes, style="yellow" if unloads(change) else "")
    return table
