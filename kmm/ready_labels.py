"""The ready labels of nodes: which they shall carry, and whose those are. Pure.

The wait for all loaders owns them in the end. One for a single loader, whose image its run makes, has a field manager
of its own, as both are at work at once (`kmm.declaration`); its name is the other's with a suffix.
"""

from collections.abc import Iterable, Sequence

from kmm.label_ownership import given_up, is_part_of, owned_labels
from kmm.nodes import LabelChange, Node
from kmm.rollout import Found, State, Workload, settled_outcomes
from kmm.workloads import DaemonSet


def label_changes(manager: str, found: Found, nodes: Iterable[Node]) -> list[LabelChange]:
    """Per node, what differs; where nothing can be known, or a former pod is still Ready, labels stay as they are.

    Of those that waits of earlier runs left behind, too, which are this manager's from now on.
    """
    nodes = list(nodes)
    ready: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for workload, outcomes_found in found.items():
        for outcome in outcomes_found:
            if outcome.state is State.READY:
                ready.setdefault(outcome.node, set()).add(workload.label)
            elif outcome.state is State.LEFT_OUT or outcome.former_ready:
                kept.setdefault(outcome.node, set()).add(workload.label)
    inherited = _left_behind(manager, found, nodes) if kept else {}
    changes = []
    for node in nodes:
        owned = owned_labels(manager, node)
        known = owned.keys() | inherited.get(node.name, set())
        keys = ready.get(node.name, set()) | (kept.get(node.name, set()) & known)
        wanted = dict.fromkeys(sorted(keys), "")
        if wanted != owned:
            changes.append(LabelChange(node.name, node.uid, wanted))
    return changes


def shares_of_former_waits(
    manager: str, workloads: Iterable[Workload], nodes: Sequence[Node]
) -> dict[str, list[LabelChange]]:
    """What gives up, by field manager, the labels that waits for single loaders put on in earlier runs."""
    return given_up(_left_behind(manager, workloads, nodes), nodes, lambda one: is_part_of(one, manager))


def is_settled(
    workloads: Iterable[Workload], daemon_sets: Iterable[DaemonSet], nodes: Sequence[Node], manager: str
) -> bool:
    """Whether everything is Ready that can be, and the labels that `manager` owns say just that."""
    by_name = {node.name: node for node in nodes}
    running = {(one.namespace, one.name): one for one in daemon_sets}
    found = {one: settled_outcomes(one, running.get((one.namespace, one.name)), by_name) for one in workloads}
    known = {workload: outcomes_found for workload, outcomes_found in found.items() if outcomes_found is not None}
    complete = len(known) == len(found)
    return complete and not label_changes(manager, known, nodes) and not _left_behind(manager, known, nodes)


def _left_behind(manager: str, workloads: Iterable[Workload], nodes: Iterable[Node]) -> dict[str, set[str]]:
    """Node name to the labels that waits for single loaders, parts of `manager`, put on in earlier runs.

    Such a wait may have failed, or its run been killed, so that no state knows of it. Not those of workloads that are
    not `awaited`: a wait for them may be at work.
    """
    at_work = {(name, workload.label) for workload in workloads if not workload.awaited for name in workload.nodes}
    found = {
        node.name: {
            key
            for key, owners in node.label_owners.items()
            if any(is_part_of(owner, manager) for owner in owners) and (node.name, key) not in at_work
        }
        for node in nodes
    }
    return {name: keys for name, keys in found.items() if keys}
