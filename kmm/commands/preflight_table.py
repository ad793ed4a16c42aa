"""What `preflight` found, as a table for people."""

from collections.abc import Iterable

from kmm.commands.tables import Table, new_console, print_table
from kmm.preflight import Readiness


def print_readiness(results: Iterable[Readiness]) -> None:
    """Prints one row for each Module and kernel; the verdict is in words as well as in colour."""
    table = Table("MODULE", "KERNEL", "MAPPING", "IMAGE", "READY", below=2)
    for result in results:
        resolved = result.plan.resolved
        table.add_row(
            result.module.key,
            result.plan.version,
            "-" if resolved is None else str(resolved.mapping),
            "-" if resolved is None else resolved.image,
            _verdict(result),
            style="red" if result.problem else "",
        )
    print_table(new_console(), table)


def _verdict(result: Readiness) -> str:
    if result.problem:
        return f"no: {result.problem}"
    steps = ", ".join(result.plan.actions)
    found = ", ".join(result.files) or result.note
    return f"yes: {steps}; {found}" if found else f"yes: {steps}"
