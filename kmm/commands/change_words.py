"""What a change does to a module, in words that fit into a table."""

from typing import Final

from kmm.changes import Change, Kind
from kmm.plan import Plan

_ACTIONS: Final = {Kind.LOAD: "load", Kind.RELOAD: "unload, load", Kind.UNLOAD: "unload"}


def unloads(change: Change) -> bool:
    """Whether the module leaves the kernel, be it for a moment."""
    return change.unloads and change.kind is not Kind.LOAD


def change_action(change: Change) -> str:
    """What is done in the kernel."""
    return _ACTIONS[change.kind] if change.unloads or change.kind is Kind.LOAD else "none"


def change_remark(plan: Plan, change: Change) -> str:
    """What the plan's own rows do not show; empty for most changes."""
    stays = "" if change.unloads else "stays as it is until the next boot: its unload policy is Never"
    known = any(change.module == module.module.key for module in plan.modules)
    return "; ".join(filter(None, (stays, "" if known else "not among these Modules, but of their stack")))
