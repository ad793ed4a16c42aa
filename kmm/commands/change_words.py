"""What a change does to a module, in words that fit into a table."""

from typing import Final

from kmm.changes import Change, Kind
from kmm.plan import Plan

_ACTIONS: Final = {Kind.LOAD: "load", Kind.RELOAD: "unload, load", Kind.UNLOAD: "unload", Kind.LEAVE: "none"}


def unloads(change: Change) -> bool:
    """Whether the module leaves the kernel, be it for a moment."""
    return change.unloads and change.disturbs


def change_action(change: Change) -> str:
    """What is done in the kernel."""
    return _ACTIONS[change.kind] if change.unloads or not change.disturbs else "none"


def change_remark(plan: Plan, change: Change) -> str:
    """What the plan's own rows do not show; empty for most changes."""
    stays = "stays as it is until the next boot: its unload policy is Never"
    moved = "these nodes run another kernel now" if change.kind is Kind.LEAVE else ""
    known = any(change.module == module.module.key for module in plan.modules)
    return "; ".join(
        filter(
            None,
            (
                stays if change.disturbs and not change.unloads else "",
                moved,
                "" if known else "not among these Modules, but of their stack",
            ),
        )
    )
