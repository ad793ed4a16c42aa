"""Waits until declared pods are Ready and keeps the ready labels of the nodes as they are.

Reads one DaemonSet per workload, and pods only while some workload has not settled. Labels are written node by node,
all Modules of a node at once, as soon as pods turn Ready: one slow node holds nobody else's label back.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from kmm.errors import ClusterError
from kmm.label_ownership import shares_of_others, stack_of
from kmm.modprobe_words import explain
from kmm.ready_labels import label_changes, shares_of_former_waits
from kmm.rollout import (
    Found,
    Outcome,
    State,
    Workload,
    block_device_plugins,
    failure_report,
    outcomes,
    outcomes_without,
    settled_outcomes,
)
from kmm.stalled_update import pod_to_replace

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster
    from kmm.nodes import Node
    from kmm.workloads import DaemonSet, Pod

_SHORT_PAUSE: Final = 0.5  # seconds between two looks at least
_PAUSE: Final = 2.0  # at most, or five times what a look takes
_COUNTED_WITHIN: Final = 10.0  # seconds after the pods are Ready
_EVENTS: Final = 10
_UNREADY: Final = (State.WAITING, State.FAILED)
_DONE: Final = (State.READY, State.BLOCKED)
_PATIENCE: Final = 4.0  # seconds in which every look must find a pod stuck before it counts as failed


@dataclass(frozen=True, slots=True)
class Patience:
    """`timeout` in seconds without another Ready pod; `max_unready` nodes of a Module may stay without."""

    timeout: float
    max_unready: Callable[[int], int]


@dataclass
class RolloutWait:
    """One wait for all workloads; `manager` owns the ready labels.

    `stuck`: since when (`time.monotonic`) every look found a pod so. `counting`: at the last look a workload had
    nothing to wait for, but its DaemonSet did not count all pods yet, or one may still come to a node that is not
    waited for, as it is cordoned.
    """

    cluster: "Cluster"
    manager: str
    workloads: Sequence[Workload]
    stuck: dict[tuple[Workload, str], float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    counting: bool = False

    def run(self, patience: Patience) -> None:
        """Wait until every workload is Ready wherever it can be, and label the nodes accordingly.

        Raises ClusterError with a report by Module and node, when more nodes than allowed are not Ready in time, or
        can't become so. Fewer are waited for just as long: nobody labels them ready after the run. Where one node
        changes at a time, the whole takes as long as there are nodes: each that gets Ready begins the time anew.
        The DaemonSets' own counts then get some seconds to say the same: by them the next run sees that there is
        nothing to do. Meanwhile a pod may go that was Ready, and is waited for again.
        """
        begun = time.monotonic()
        until = deadline = begun + patience.timeout
        served: set[tuple[str, str]] = set()
        while True:
            started = time.monotonic()
            found = self.look()
            self.tell(_progress(found))
            if new := _places(found, State.READY) - served:
                served |= new
                deadline = started + patience.timeout
            waiting = bool(_places(found, State.WAITING))
            until = deadline if waiting else min(until, started + _COUNTED_WITHIN)
            if time.monotonic() >= until or not (waiting or self.counting):
                break
            now = time.monotonic()
            pause = min(_PAUSE, (now - begun) / 2) if waiting else 0  # most pods take no second
            time.sleep(min(max(pause, _SHORT_PAUSE, 5 * (now - started)), max(until - now, 0)))
        self.tell(_left_out(found))
        if reports := self._reports(found, patience):
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
            if settled is not None:
                found[workload] = settled
            elif daemon_set is None:
                found[workload] = [self._patient(workload, one) for one in outcomes_without(workload)]
            else:
                unsettled.append((workload, daemon_set))
        if unsettled:
            roles = sorted({workload.role for workload, _ in unsettled})
            pods = self.cluster.pods(*roles, modules={workload.module for workload, _ in unsettled})
            for workload, daemon_set in unsettled:
                found[workload] = [self._patient(workload, one) for one in outcomes(workload, daemon_set, pods, nodes)]
                self._go_on(workload, daemon_set, pods, nodes)
        self.counting = any(all(one.state in _DONE for one in found[workload]) for workload, _ in unsettled)
        found = dict(block_device_plugins(found))
        self._label(found, list(nodes.values()))
        return found

    def _label(self, found: Found, nodes: "Sequence[Node]") -> None:
        """Own the labels, then take the shares of former waits and stacks off: no label leaves in between."""
        self.cluster.apply_node_labels(label_changes(self.manager, found, nodes), self.manager)
        labels = {workload.label for workload in self.workloads}
        former = shares_of_former_waits(self.manager, self.workloads, nodes)
        for manager, changes in (former | shares_of_others(stack_of(self.manager), labels, nodes)).items():
            self.cluster.apply_node_labels(changes, manager)

    def tell(self, lines: Iterable[str]) -> None:
        """Show what is new; the engine shows what a provider writes to stderr while it runs."""
        for line in lines:
            if line not in self.told:
                print(line, file=sys.stderr, flush=True)  # noqa: T201
                self.told.add(line)

    def _go_on(
        self, workload: Workload, daemon_set: "DaemonSet", pods: "Sequence[Pod]", nodes: "Mapping[str, Node]"
    ) -> None:
        """Replace the next pod where nodes that do not report hold up the DaemonSet."""
        if pod := pod_to_replace(workload, daemon_set, pods, nodes):
            self.tell([f"{workload.module} {workload.role}: changed on {pod.node} although other nodes do not report"])
            self.cluster.delete_pod(pod.namespace, pod.name)

    def _patient(self, workload: Workload, outcome: Outcome) -> Outcome:
        """A pull or a start may fail once and then succeed: only what stays stuck has failed."""
        key, now = (workload, outcome.node), time.monotonic()
        if outcome.state is not State.FAILED:
            self.stuck.pop(key, None)
            return outcome
        patient = now - self.stuck.setdefault(key, now) < _PATIENCE
        return replace(outcome, state=State.WAITING) if patient else outcome

    def _reports(self, found: Found, patience: Patience) -> list[str]:
        by_module: dict[tuple[str, str], list[tuple[Workload, Outcome]]] = {}
        for workload, outcomes_found in found.items():
            there = by_module.setdefault((workload.module, workload.role), [])
            there += ((workload, outcome) for outcome in outcomes_found)
        return [
            failure_report(module, role, self._with_events(there))
            for (module, role), there in sorted(by_module.items())
            if sum(one.state in _UNREADY for _, one in there) > patience.max_unready(len(there))
        ]

    def _with_events(self, found: Sequence[tuple[Workload, Outcome]]) -> list[Outcome]:
        """Why a pod does not come or does not start is in no status, only in events; asked for the first few."""
        waiting = [outcome for _, outcome in found if outcome.state is State.WAITING][:_EVENTS]
        return [
            replace(outcome, words=f"{outcome.words}\n{self._event(workload, outcome)}".rstrip())
            if outcome in waiting
            else outcome
            for workload, outcome in found
        ]

    def _event(self, workload: Workload, outcome: Outcome) -> str:
        try:
            said = self.cluster.last_warning(workload.namespace, outcome.pod or workload.name)
        except ClusterError as error:
            return f"  its events cannot be read: {error}"
        return "\n".join(f"  {line}" for line in (said, explain(said)) if line)


def _places(found: Found, state: State) -> set[tuple[str, str]]:
    """Workloads and nodes."""
    return {
        (workload.key, outcome.node)
        for workload, outcomes_found in found.items()
        for outcome in outcomes_found
        if outcome.state is state
    }


def _progress(found: Found) -> list[str]:
    by_module: dict[str, list[int]] = {}
    for workload, outcomes_found in found.items():
        counts = by_module.setdefault(f"{workload.module} {workload.role}", [0, 0])
        counts[0] += sum(outcome.state is State.READY for outcome in outcomes_found)
        counts[1] += len(outcomes_found)
    return [
        f"{what}: {ready}/{wanted} nodes ready" for what, (ready, wanted) in sorted(by_module.items()) if ready < wanted
    ]


def _left_out(found: Found) -> list[str]:
    """Nodes on which nothing was waited for, by reason."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for workload, outcomes_found in found.items():
        for one in outcomes_found:
            if one.state in (State.LEFT_OUT, State.BLOCKED):
                nodes.setdefault((f"{workload.module} {workload.role}", one.words), []).append(one.node)
    return [
        f"{what}: not waited for on {len(names)} nodes, {names[0]} among them: {words}"
        for (what, words), names in sorted(nodes.items())
    ]
