"""Who owns a label on a node, by server-side apply. Pure.

A set of labels belongs to an owner, a text such as `kmm-1a2b.kernel`, and within it to a generation, a number; field
managers are named `OWNER.GENERATION`. While labels are only added or changed the generation stays. Taking labels off
starts the next one: the new generation applies what is still wanted, and the old one gives its labels up later, when
the pods that hang on them are gone. A label stays while anybody owns it.

The generation follows from what the nodes show, so that a run that was killed half-way goes on where it stopped.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from typing import Final

from kmm.nodes import LabelChange, Node

Labels = Mapping[str, str]

_OF_A_STACK: Final = re.compile(r"kmm-[0-9a-f]{8}\.")  # how the names of field managers begin


def kernel_label_owner(stack: str) -> str:
    """Owner of a stack's kernel labels."""
    return f"{stack}.kernel"


def field_manager(owner: str, wanted: Mapping[str, Labels], nodes: Sequence[Node]) -> str:
    """The field manager that is to own `wanted` (labels by node name)."""
    kept = {generation for node in nodes for generation in _generations(owner, node)}
    released = {generation for node in nodes if not wanted.get(node.name) for generation in _generations(owner, node)}
    return f"{owner}.{max(released) + 1 if released else max(kept, default=0)}"


def owned_labels(manager: str, node: Node) -> dict[str, str | None]:
    """The labels that `manager` owns on the node, with their present values."""
    return {key: node.labels.get(key) for key, owners in node.label_owners.items() if manager in owners}


def differing_nodes(manager: str, wanted: Mapping[str, Labels], nodes: Iterable[Node]) -> list[str]:
    """Names of the nodes whose labels are not as wanted, or not this manager's."""
    return [node.name for node in nodes if wanted.get(node.name, {}) != owned_labels(manager, node)]


def shares_of_others(stack: str, keys: Set[str], nodes: Iterable[Node]) -> dict[str, list[LabelChange]]:
    """What gives up, by field manager, what other stacks than this own of these labels.

    They had the Modules that these labels are about. As long as they own a label it never leaves its node.
    Field managers that are no stack's are left alone, `kubectl` for example: they may own more on a node than what is
    known here, which would go from it.
    """
    nodes = list(nodes)
    release = dict.fromkeys((node.name for node in nodes), keys)
    return given_up(release, nodes, lambda manager: bool(_OF_A_STACK.match(manager)) and stack_of(manager) != stack)


def given_up(
    release: Mapping[str, Collection[str]], nodes: Iterable[Node], is_meant: Callable[[str], bool]
) -> dict[str, list[LabelChange]]:
    """What gives up, by field manager, what those that are meant own of the labels to `release` (keys by node name)."""
    changes: dict[str, list[LabelChange]] = {}
    for node in nodes:
        keys = release.get(node.name, ())
        managers = {manager for key in keys for manager in node.label_owners.get(key, ())}
        for manager in sorted(filter(is_meant, managers)):
            kept = {key: value or "" for key, value in owned_labels(manager, node).items() if key not in keys}
            changes.setdefault(manager, []).append(LabelChange(node.name, node.uid, kept))
    return changes


def is_part_of(manager: str, whole: str) -> bool:
    """Whether a field manager has a part of another one's work, as its name `WHOLE-…` says."""
    return manager.startswith(f"{whole}-")


def stack_of(manager: str) -> str:
    """The stack that a field manager is of."""
    return manager.partition(".")[0]


def _generations(owner: str, node: Node) -> set[int]:
    managers = {manager for owners in node.label_owners.values() for manager in owners}
    numbers = (manager.removeprefix(f"{owner}.") for manager in managers if manager.startswith(f"{owner}."))
    return {int(number) for number in numbers if number.isdecimal()}
