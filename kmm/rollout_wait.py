"""Waits until declared pods are Ready and keeps the ready labels of the nodes as they are.

Reads one DaemonSet per workload, and pods only while some workload has not settled. Labels are written node by node,
all Modules of a node at once, as soon as pods turn Ready: one slow node holds nobody else's label back.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmm.errors import ClusterError
from kmm.rollout import Found, Outcome, State, Workload, failure_report, label_changes, outcomes, settled_outcomes

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster

_PAUSE: Final = 2.0  # seconds between two looks, or five times what a look takes
_PATIENCE: Final = 3  # looks in a row that must find a pod stuck before it counts as failed


@dataclass(frozen=True, slots=True)
class Patience:
    """`timeout` in seconds for all Modules together; `max_unready` nodes of a Module may stay without."""

    timeout: float
    max_unready: Callable[[int], int]


@dataclass
class RolloutWait:
    """One wait for all workloads; `manager` owns the ready labels."""

    cluster: "Cluster"
    manager: str
    workloads: Sequence[Workload]
    stuck: dict[tuple[Workload, str], int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def run(self, patience: Patience) -> None:
        """Wait until every workload is Ready wherever it can be, and label the nodes accordingly.

        Raises ClusterError with a report by Module and node, when more nodes than allowed are not Ready in time, or
        can't become so.
        """
        deadline = time.monotonic() + patience.timeout
        while True:
            started = time.monotonic()
            found = self.look()
            self.tell(_progress(found))
            if time.monotonic() >= deadline or not any(_waiting(found)):
                break
            time.sleep(max(_PAUSE, 5 * (time.monotonic() - started)))
        if reports := _reports(found, patience):
            raise ClusterError("\n".join(reports))

    def look(self) -> Found:
        """Read how things are, and label the nodes accordingly."""
        nodes = {node.name: node for node in self.cluster.nodes()}
        daemon_sets = {(one.namespace, one.name): one for one in self.cluster.daemon_sets()}
        found: dict[Workload, Sequence[Outcome]] = {}
        unsettled = []
        for workload in self.workloads:
            daemon_set = daemon_sets.get((workload.namespace, workload.name))
            settled = settled_outcomes(workload, daemon_set, nodes)
            if settled is None:
                unsettled.append((workload, daemon_set))
            else:
                found[workload] = settled
        if unsettled:
            pods = self.cluster.pods(*sorted({workload.role for workload, _ in unsettled}))
            for workload, daemon_set in unsettled:
                found[workload] = [self._patient(workload, one) for one in outcomes(workload, daemon_set, pods, nodes)]
        self.cluster.apply_node_labels(label_changes(self.manager, found, nodes.values()), self.manager)
        return found

    def tell(self, lines: Iterable[str]) -> None:
        """Show what is new; the engine shows what a provider writes to stderr while it runs."""
        for line in lines:
            if line not in self.told:
                print(line, file=sys.stderr, flush=True)  # noqa: T201
                self.told.add(line)

    def _patient(self, workload: Workload, outcome: Outcome) -> Outcome:
        """A pull or a start may fail once and then succeed: only what stays stuck has failed."""
        key = (workload, outcome.node)
        self.stuck[key] = self.stuck.get(key, 0) + 1 if outcome.state is State.FAILED else 0
        if 0 < self.stuck[key] < _PATIENCE:
            return Outcome(outcome.node, State.WAITING, outcome.words)
        return outcome


def _waiting(found: Found) -> Iterable[bool]:
    return (outcome.state is State.WAITING for outcomes_found in found.values() for outcome in outcomes_found)


def _progress(found: Found) -> list[str]:
    by_module: dict[str, list[int]] = {}
    for workload, outcomes_found in found.items():
        counts = by_module.setdefault(f"{workload.module} {workload.role}", [0, 0])
        counts[0] += sum(outcome.state is State.READY for outcome in outcomes_found)
        counts[1] += len(outcomes_found)
    return [
        f"{what}: {ready}/{wanted} nodes ready" for what, (ready, wanted) in sorted(by_module.items()) if ready < wanted
    ]


def _reports(found: Found, patience: Patience) -> list[str]:
    by_module: dict[tuple[str, str], list[Outcome]] = {}
    for workload, outcomes_found in found.items():
        by_module.setdefault((workload.module, workload.role), []).extend(outcomes_found)
    return [
        failure_report(module, role, found_there)
        for (module, role), found_there in sorted(by_module.items())
        if _unready(found_there) > patience.max_unready(len(found_there))
    ]


def _unready(found: Sequence[Outcome]) -> int:
    return sum(outcome.state in (State.WAITING, State.FAILED) for outcome in found)
