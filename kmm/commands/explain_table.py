"""Explanations for people: of one node step by step, of many by what keeps the Module off them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from kmm.commands.tables import Table, new_console, print_table
from kmm.explanation import Explanation, Verdict

_MARKS: Final = {Verdict.PASSED: ("yes", ""), Verdict.FAILED: ("NO", "red"), Verdict.NOTED: ("-", "")}
_SHOWN_NODES: Final = 5


def print_steps(explanation: Explanation) -> None:
    """Prints the verdict on one node, then each step."""
    console = new_console()
    is_loaded = "is loaded" if explanation.loaded else "is not loaded"
    console.print(f"{explanation.module} {is_loaded} on node {explanation.node}\n", soft_wrap=True)
    table = Table("", "STEP", "")
    for step in explanation.steps:
        mark, style = _MARKS[step.verdict]
        table.add_row(mark, step.topic, "\n".join(filter(None, (step.words, step.remedy))), style=style)
    print_table(console, table)


def print_nodes(explanations: Iterable[Explanation]) -> None:
    """Prints the nodes that fare alike in one row."""
    alike: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for one in explanations:
        alike[not one.loaded, one.reason].append(one.node)
    table = Table("LOADED", "NODES", "FIRST REASON")
    for (missing, reason), nodes in sorted(alike.items()):
        more = ", …" if len(nodes) > _SHOWN_NODES else ""
        names = f"{len(nodes)}: {', '.join(nodes[:_SHOWN_NODES])}{more}"
        table.add_row("NO" if missing else "yes", names, reason, style="yellow" if missing else "")
    print_table(new_console(), table)
