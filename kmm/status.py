"""How Modules fare in a cluster, by kernel and node. Pure.

A `Target` is what shall be Ready: of the plan when Modules are given, else what the cluster's own DaemonSets want.
`kmm.rollout` says of each node how it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kmm.image_rules import keep_digest
from kmm.kept_versions import kept_versions, kept_workload
from kmm.manifests.device_plugin import device_plugin_manifest
from kmm.manifests.loader import loader_manifest
from kmm.mapping import ResolvedKernel
from kmm.names import INSTANCE_LABEL, ROLE_MODULE_LOADER, version_label
from kmm.nodes import Node, by_kernel_label
from kmm.plan import KernelPlan, Plan
from kmm.rollout import (
    Outcome,
    State,
    Workload,
    device_plugin_workload,
    loader_workload,
    outcomes,
    settled_outcomes,
)
from kmm.workloads import DaemonSet, Pod

_NOT_DECLARED: Final = "no DaemonSet yet: run `pulumi up`"
_NO_NODE: Final = "no usable node matches its selector"
_CHANGED: Final = "the definition has changed since: `pulumi up` brings it about"


@dataclass(frozen=True, slots=True)
class Target:
    """A workload that shall be Ready. `kernel` is empty for a device plugin, which serves all kernels."""

    kernel: str
    workload: Workload


@dataclass(frozen=True, slots=True)
class Row:
    """A Module on one kernel, or its device plugin; `note` is about the DaemonSet, `nodes` about its pods.

    `stack` is the instance label of the DaemonSet, the stack's name on its cluster, `version` its version; both are
    empty without one.
    """

    module: str
    role: str
    kernel: str
    version: str
    daemon_set: str
    stack: str
    note: str
    nodes: tuple[Outcome, ...]

    @property
    def order(self) -> tuple[str, bool, str, str, str]:
        """By Module; loaders by kernel, then the device plugin."""
        return self.module, self.role != ROLE_MODULE_LOADER, self.kernel, self.version, self.stack

    @property
    def ready(self) -> int:
        """The number of nodes where it is Ready."""
        return sum(one.state is State.READY for one in self.nodes)

    @property
    def unready(self) -> tuple[Outcome, ...]:
        """The nodes that shall be Ready and are not; those that take no pods now are none of them."""
        return tuple(one for one in self.nodes if one.state in (State.WAITING, State.FAILED))


@dataclass(frozen=True, slots=True)
class Look:
    """How Modules fare at one moment. With a `problem` the cluster does not tell now, and `rows` are of before."""

    rows: tuple[Row, ...]
    problem: str = ""


def planned_targets(plan: Plan, daemon_sets: Sequence[DaemonSet], nodes: Sequence[Node]) -> Iterator[Target]:
    """What `pulumi up` would wait for: the plan's, and what it would keep of earlier versions."""
    running = _by_key(daemon_sets)
    for module in plan.modules:
        served = [(kernel, kernel.resolved) for kernel in module.kernels if kernel.resolved is not None]
        yield from (Target(kernel.version, planned_loader(kernel, resolved, running)) for kernel, resolved in served)
        plugin = device_plugin_manifest(module.module)
        if plugin is not None:
            yield Target("", device_plugin_workload([kernel for kernel, _ in served], plugin))
    modules = [module.module for module in plan.modules]
    for stack in sorted({one.labels.get(INSTANCE_LABEL, "") for one in daemon_sets}):
        kept = kept_versions(modules, daemon_sets, nodes, stack)
        yield from (Target(one.kernel, kept_workload(one, kept, nodes)) for one in kept)


def planned_loader(
    kernel: KernelPlan, resolved: ResolvedKernel, running: Mapping[tuple[str, str], DaemonSet]
) -> Workload:
    """The loader of a kernel; `running` is by namespace and name."""
    return loader_workload(kernel, loader_manifest(keep_digest(resolved, running)))


def running_targets(daemon_sets: Sequence[DaemonSet], nodes: Sequence[Node]) -> Iterator[Target]:
    """What the DaemonSets of all stacks want, on the nodes that their loaders select now."""
    by_kernel = by_kernel_label(nodes)
    for one in daemon_sets:
        places = by_kernel.get(one.kernel, ()) if one.role == ROLE_MODULE_LOADER else nodes
        yield Target(one.kernel, kept_workload(one, daemon_sets, places))


def needed_pods(targets: Iterable[Target], daemon_sets: Iterable[DaemonSet], nodes: Iterable[Node]) -> set[str]:
    """The roles whose pods must be read, because the DaemonSets' own counts do not tell all."""
    running, by_name = _by_key(daemon_sets), _by_name(nodes)
    return {
        target.workload.role
        for target in targets
        if settled_outcomes(target.workload, running.get(_key(target.workload)), by_name) is None
    }


def status_rows(
    targets: Iterable[Target], daemon_sets: Iterable[DaemonSet], nodes: Iterable[Node], pods: Iterable[Pod]
) -> tuple[Row, ...]:
    """How each target fares; `pods` are those of the roles that `needed_pods` names."""
    running, by_name = _by_key(daemon_sets), _by_name(nodes)
    own: dict[tuple[str, str], list[Pod]] = defaultdict(list)
    for pod in pods:
        own[pod.namespace, pod.daemon_set].append(pod)
    keyed = ((target, _key(target.workload)) for target in targets)
    return tuple(_row(target, running.get(key), by_name, own[key]) for target, key in keyed)


def skipped_rows(plan: Plan) -> Iterator[Row]:
    """Modules that no node is for, and kernels that a Module can't be on, with the reason."""
    for module in plan.modules:
        if not module.kernels:
            yield _row_without_workload(module.module.key, "", _NO_NODE, ())
        for kernel in module.kernels:
            if kernel.reason is not None:
                left_out = tuple(Outcome(node, State.LEFT_OUT, kernel.reason) for node in kernel.nodes)
                yield _row_without_workload(module.module.key, kernel.version, "", left_out)


def _row_without_workload(module: str, kernel: str, note: str, nodes: tuple[Outcome, ...]) -> Row:
    return Row(module, ROLE_MODULE_LOADER, kernel, version="", daemon_set="", stack="", note=note, nodes=nodes)


def _row(target: Target, daemon_set: DaemonSet | None, nodes: Mapping[str, Node], pods: Sequence[Pod]) -> Row:
    workload = target.workload
    found = settled_outcomes(workload, daemon_set, nodes)
    labels = daemon_set.labels if daemon_set else {}
    return Row(
        module=workload.module,
        role=workload.role,
        kernel=target.kernel,
        version=labels.get(version_label(*workload.module.split("/")), ""),
        daemon_set=workload.name,
        stack=labels.get(INSTANCE_LABEL, ""),
        note=_note(workload, daemon_set),
        nodes=tuple(outcomes(workload, daemon_set, pods, nodes) if found is None else found),
    )


def _note(workload: Workload, daemon_set: DaemonSet | None) -> str:
    if daemon_set is None:
        return _NOT_DECLARED
    return "" if daemon_set.template_hash == workload.template_hash else _CHANGED


def _key(workload: Workload) -> tuple[str, str]:
    return workload.namespace, workload.name


def _by_key(daemon_sets: Iterable[DaemonSet]) -> dict[tuple[str, str], DaemonSet]:
    return {(one.namespace, one.name): one for one in daemon_sets}


def _by_name(nodes: Iterable[Node]) -> dict[str, Node]:
    return {node.name: node for node in nodes}
