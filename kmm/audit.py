"""Where Node Feature Discovery finds modules and where loaders run: a disagreement is worth a look. Pure.

NFD looks at each kernel once a minute. So only what cannot be mere lateness counts: a pod that has been Ready for
longer than that, or no pod where none is to come either.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from kmm.definition import Module
from kmm.kernel import sysfs_module_path
from kmm.names import NFD_KERNEL_LABEL, label_value, loaded_label
from kmm.nodes import Node, lost
from kmm.plan import Action, ModulePlan, Plan
from kmm.workloads import DaemonSet, Pod

_LATE: Final = timedelta(minutes=2)  # NFD's interval and as much again: its look takes time, and clocks differ
_SHOWN: Final = 10  # nodes named in one message


@dataclass(frozen=True)
class Evidence:
    """`labels`: the label keys that live rules of NFD put on nodes; `pods`: those of all loaders."""

    labels: frozenset[str]
    pods: Sequence[Pod]


class Kind(StrEnum):
    """How they disagree."""

    LEFT_BEHIND = "left behind"
    NOT_LOADED = "not loaded"


_WORDS: Final = {
    Kind.LEFT_BEHIND: "is in the kernel, but no loader of it runs: it could not be unloaded, or somebody else loaded "
    "it. End what uses it and run `modprobe -r {name}` there, or reboot. If it was unloaded within the last minute, "
    "Node Feature Discovery has yet to notice",
    Kind.NOT_LOADED: "is not in the kernel, says Node Feature Discovery, but its loader is Ready: see `lsmod` there. "
    "It may be built into that kernel, or NFD's worker does not report any more",
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A Module (`namespace/name`), its kernel module, and the nodes where NFD and the loader pods disagree on it."""

    module: str
    kernel_module: str
    kind: Kind
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.nodes) - _SHOWN} more" if len(self.nodes) > _SHOWN else ""
        where = f"on nodes {', '.join(self.nodes[:_SHOWN])}{more}"
        return f"{self.module}: {where}, {self.kernel_module} {_WORDS[self.kind].format(name=self.kernel_module)}"


def disagreements(
    plan: Plan, evidence: Evidence, daemon_sets: Iterable[DaemonSet], nodes: Iterable[Node], now: datetime
) -> Iterator[Disagreement]:
    """By Module; nothing for Modules that no live rule is about, and nodes that NFD knows nothing new of."""
    owners = {(one.namespace, one.name): one.module for one in daemon_sets}
    running: dict[tuple[str, str], list[Pod]] = {}
    for pod in evidence.pods:
        running.setdefault((pod.node, owners.get((pod.namespace, pod.daemon_set), "")), []).append(pod)
    audited = [
        one
        for one in plan.modules
        if loaded_label(one.module.metadata.namespace, one.module.metadata.name) in evidence.labels
    ]
    known = [node for node in nodes if _is_known(node)]
    for one in audited:
        yield from _of_module(one, _namesakes(one.module, plan), running, known, now)


def _of_module(
    planned: ModulePlan,
    namesakes: frozenset[str],
    running: Mapping[tuple[str, str], Sequence[Pod]],
    nodes: Sequence[Node],
    now: datetime,
) -> Iterator[Disagreement]:
    module = planned.module
    label = loaded_label(module.metadata.namespace, module.metadata.name)
    loads = {node for kernel in planned.kernels if Action.LOAD in kernel.actions for node in kernel.nodes}
    found: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for node in nodes:
        if label not in node.labels:
            if any(_long_ready(pod, now) for pod in running.get((node.name, module.key), ())):
                found[Kind.NOT_LOADED].append(node.name)
        elif not (node.name in loads or any((node.name, key) in running for key in namesakes)):
            found[Kind.LEFT_BEHIND].append(node.name)
    if not module.unloads or _replaces_namesake(planned):
        found[Kind.LEFT_BEHIND].clear()  # it is meant to stay, or may be the kernel's own
    yield from (Disagreement(module.key, _name(module), kind, tuple(names)) for kind, names in found.items() if names)


def _is_known(node: Node) -> bool:
    """Whether NFD's labels are about the running kernel."""
    return not lost(node) and node.labels.get(NFD_KERNEL_LABEL) == label_value(node.kernel_version)


def _long_ready(pod: Pod, now: datetime) -> bool:
    return pod.ready and not pod.deleting and pod.ready_since is not None and now - pod.ready_since > _LATE


def _namesakes(module: Module, plan: Plan) -> frozenset[str]:
    """Keys of the Modules whose loaders load this one's module."""
    path = sysfs_module_path(_name(module))
    return frozenset(one.module.key for one in plan.modules if sysfs_module_path(_name(one.module)) == path)


def _replaces_namesake(planned: ModulePlan) -> bool:
    resolved = [kernel.resolved for kernel in planned.kernels if kernel.resolved is not None]
    return any(one.in_tree_module_to_remove == _name(planned.module) for one in resolved)


def _name(module: Module) -> str:
    return module.spec.module_loader.container.modprobe.module_name or ""
