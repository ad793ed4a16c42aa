"""What `pulumi up` of a plan would do to modules that are loaded now, as far as the cluster alone tells. Pure.

Which objects are a stack's own is in Pulumi's state, which is not read here: a stack that runs any Module of the plan
is taken for the one that the plan is of.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kmm.changes import Change, Kind, loader_changes
from kmm.image_rules import keep_digest
from kmm.kept_versions import kept_versions
from kmm.manifests.loader import loader_manifest, loader_name
from kmm.mapping import ResolvedKernel
from kmm.names import INSTANCE_LABEL, KERNEL_LABEL
from kmm.nodes import Node, selected
from kmm.plan import Action, KernelPlan, Plan
from kmm.workloads import DaemonSet


def plan_changes(plan: Plan, live: Sequence[DaemonSet], nodes: Sequence[Node]) -> tuple[Change, ...]:
    """Where modules would be loaded, unloaded, or both. Each change has nodes: others touch no kernel."""
    modules = [one.module for one in plan.modules]
    keys = {module.key for module in modules}
    stacks = {one.labels.get(INSTANCE_LABEL, "") for one in live if one.module in keys}
    running = {(one.namespace, one.name): one for one in live}
    loaders = [loader_manifest(keep_digest(resolved, running)) for _, resolved in _loaders(plan)]
    found = set(_loads(plan, running, nodes))
    for stack in stacks or {""}:
        kept = kept_versions(modules, live, nodes, stack)
        passing = [one for one in live if one not in kept]
        changes = loader_changes(loaders, passing, nodes, stack)
        found.update(change for change in changes if change.nodes)
    return tuple(sorted(found))


def _loaders(plan: Plan) -> Iterator[tuple[KernelPlan, ResolvedKernel]]:
    for module in plan.modules:
        for kernel in module.kernels:
            if kernel.resolved is not None and Action.LOAD in kernel.actions:
                yield kernel, kernel.resolved


def _loads(plan: Plan, running: Mapping[tuple[str, str], DaemonSet], nodes: Iterable[Node]) -> Iterator[Change]:
    """Where a loader will come to: to all of its nodes, if it runs then to those that it does not select yet."""
    by_name = {node.name: node for node in nodes}
    for kernel, resolved in _loaders(plan):
        module, name = resolved.module, loader_name(resolved)
        live = running.get((module.metadata.namespace, name))
        coming = [node for node in kernel.nodes if live is None or not selected(by_name[node], live.node_selector)]
        if coming:
            yield Change(module.key, resolved.kernel_label[KERNEL_LABEL], Kind.LOAD, name, tuple(coming))
