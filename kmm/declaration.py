"""What a run declares besides the objects of the Modules: labels of nodes, and the wait for pods. Pure.

`owner` is the stack's name on the cluster. It marks the stack's objects and begins the names of its field managers.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kmm.changes import Change, Kind
from kmm.definition import Module
from kmm.errors import PlanError
from kmm.label_ownership import kernel_label_owner
from kmm.manifests import KernelManifests, Manifest, ModuleManifests, module_manifests
from kmm.manifests.common import digest
from kmm.names import (
    INSTANCE_LABEL,
    MODULE_NAME_LABEL,
    ROLE_DEVICE_PLUGIN,
    TEMPLATE_HASH_ANNOTATION,
    ready_label,
)
from kmm.nodes import Node
from kmm.plan import Plan
from kmm.rollout import Workload, device_plugin_workload, loader_workload
from kmm.workloads import DaemonSet

_SHOWN = 10  # objects named in one message


@dataclass(frozen=True)
class Wait:
    """Workloads that the Rollout `name` waits for; `manager` owns their ready labels."""

    name: str
    manager: str
    workloads: tuple[Workload, ...]


def ready_label_manager(owner: str) -> str:
    """Field manager of the ready labels of the nodes."""
    return f"{owner}.ready"


def main_wait(modules: Iterable[ModuleManifests], kept: Iterable[Workload], owner: str) -> Wait:
    """The wait for everything whose image is there, `kept` workloads of earlier versions too.

    A loader may run although its image is to be made again, as a registry lost it: its labels are left alone.
    """
    workloads = list(kept)
    for module in modules:
        partial = any(one.kernel.gated for one in module.kernels)
        for gated in (False, True):
            found = [one for one in module.kernels if one.kernel.gated is gated]
            kernels = [one.kernel for one in found]
            workloads += (replace(loader_workload(one.kernel, one.loader), awaited=not gated) for one in found)
            workloads += (
                replace(device_plugin_workload(kernels, plugin), awaited=not gated, partial=partial)
                for plugin in module.device_plugins
                if found or not gated
            )
    return Wait("rollout", ready_label_manager(owner), tuple(workloads))


def gated_wait(kernel: KernelManifests, owner: str) -> Wait:
    """The wait for a loader whose image this run has to make first."""
    workload = loader_workload(kernel.kernel, kernel.loader)
    manager = f"{ready_label_manager(owner)}-{digest([workload.namespace, workload.name])}"
    return Wait(f"rollout/{workload.key}", manager, (workload,))


@dataclass(frozen=True)
class Leaving:
    """What leaves nodes before anything new comes to them. DaemonSets are `namespace/name`.

    `release`: by node name, the ready labels that go. `plugins` must have left these nodes then, and stay elsewhere.
    `losing`: nodes whose kernel label goes or changes, which ends the pods of the loaders `ending` there. `daemon_sets`
    go altogether. `reloads`: loaders that change in place, later in the run, which ends pods then. `departing`: pods of
    loaders that end already where others come, since an earlier run was killed; their DaemonSets by the pods'
    `namespace/name`.
    """

    release: dict[str, list[str]]
    plugins: list[str]
    losing: list[str]
    ending: list[str]
    daemon_sets: list[str]
    reloads: list[str]
    departing: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.release or self.losing or self.daemon_sets or self.departing)


def what_leaves(
    changes: Iterable[Change],
    modules: Sequence[ModuleManifests],
    live: Sequence[DaemonSet],
    going: list[str],
    losing: Container[str],
) -> Leaving:
    """What these changes drive away. `going` is `unwanted`, `losing` the nodes whose kernel label goes or changes.

    A loader whose image is still to be made changes only if that succeeds: nothing leaves for it beforehand, but where
    the label goes anyway.
    """
    loaders = {_key(one.loader): one for module in modules for one in module.kernels}
    gated = {key for key, one in loaders.items() if one.kernel.gated}
    certain = [
        replace(one, nodes=tuple(node for node in one.nodes if node in losing)) if one.loader in gated else one
        for one in changes
    ]
    certain_hashes = {
        key: one.loader["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
        for key, one in loaders.items()
        if key not in gated
    }
    moved = [
        (node, one.loader)
        for one in certain
        if one.kind in (Kind.UNLOAD, Kind.LEAVE) and one.loader not in going
        for node in one.nodes
        if node in losing
    ]
    return Leaving(
        release=labels_to_release(certain),
        plugins=[one for one in device_plugins_of(certain, live) if one not in going],
        losing=sorted({node for node, _ in moved}),
        ending=sorted({loader for _, loader in moved}),
        daemon_sets=going,
        reloads=[one.key for one in live if one.template_hash != certain_hashes.get(one.key, one.template_hash)],
    )


def _key(manifest: Manifest) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def labels_to_release(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Node name to the ready labels that must go before modules are unloaded there."""
    release: dict[str, set[str]] = {}
    for change in changes:
        if change.frees:
            namespace, _, name = change.module.partition("/")
            for node in change.nodes:
                release.setdefault(node, set()).add(ready_label(namespace, name))
    return {node: sorted(keys) for node, keys in sorted(release.items())}


def unwanted(
    declared: Iterable[Manifest], kept: Iterable[DaemonSet], live: Iterable[DaemonSet], owner: str
) -> list[str]:
    """`namespace/name` of this stack's DaemonSets that are neither declared any more nor kept."""
    wanted = {(manifest["metadata"]["namespace"], manifest["metadata"]["name"]) for manifest in declared}
    wanted |= {(one.namespace, one.name) for one in kept}
    return [
        one.key for one in live if one.labels.get(INSTANCE_LABEL) == owner and (one.namespace, one.name) not in wanted
    ]


def device_plugins_of(changes: Iterable[Change], live: Iterable[DaemonSet]) -> list[str]:
    """`namespace/name` of the device plugins of Modules that are unloaded somewhere."""
    modules = {change.module for change in changes if change.frees}
    return [one.key for one in live if one.role == ROLE_DEVICE_PLUGIN and one.module in modules]


def namespace_problems(
    plan: Plan, missing: Container[str], sources: Mapping[str, object], cluster: object
) -> list[str]:
    """A problem for each Module that has objects in a namespace that is `missing` from the cluster.

    `sources` say where a Module is defined.
    """
    return [
        _no_namespace(one.module, sources[one.module.key], cluster)
        for one in plan.modules
        if one.module.metadata.namespace in missing
        and (any(module_manifests(one)) or any(kernel.gated for kernel in one.future))
    ]


def _no_namespace(module: Module, source: object, cluster: object) -> str:
    name = module.metadata.namespace
    return (
        f"{module.key} ({source}): metadata.namespace: {cluster} has no namespace {name}. "
        f"Correct it, or make one: kubectl create namespace {name}"
    )


def refuse_strangers(declared: Iterable[Manifest], live: Sequence[DaemonSet], owner: str) -> None:
    """Raise PlanError when a DaemonSet to declare is there already and is not this stack's.

    The engine would only find out in the middle of `up`.
    """
    running = {(one.namespace, one.name): one for one in live}
    strangers = [
        f"{one.key} ({_belongs(one)})"
        for manifest in declared
        if (one := running.get((manifest["metadata"]["namespace"], manifest["metadata"]["name"]))) is not None
        and one.labels.get(INSTANCE_LABEL) != owner
    ]
    if strangers:
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        raise PlanError(
            f"{len(strangers)} DaemonSets exist already and are not this stack's: "
            f"{', '.join(strangers[:_SHOWN])}{more}. If another stack deploys these Modules, take them out of one of "
            "the two; docs/how-to/several-clusters.md says how to move them. If this stack lost its state, take its "
            "objects over, which unloads nothing: PULUMI_K8S_UPSERT_EXISTING_OBJECTS=true pulumi up"
        )


def former_owner(declared: Iterable[Manifest], live: Sequence[DaemonSet], nodes: Iterable[Node]) -> str | None:
    """The owner of what a lost state left behind, None when that is not just one stack. `nodes` are those to label.

    It shows in live DaemonSets that are declared again; after a run that was killed before it made any, in labels of
    nodes that belong to nobody who has a DaemonSet. An owner of other Modules, too, may be a stack that lives and from
    which these are moved: in its name the others would be unloaded.
    """
    declared = list(declared)
    owners = _owners(declared, live)
    if _undeclared_modules(declared, live, owners):
        return None
    running = {(one.namespace, one.name): one.labels.get(INSTANCE_LABEL) for one in live}
    managers = {manager for node in nodes for owned_by in node.label_owners.values() for manager in owned_by}
    labelling = {
        owner for owner, kernel, _ in (manager.partition(kernel_label_owner("")) for manager in managers) if kernel
    }
    candidates = owners or labelling - set(running.values())
    return candidates.pop() if len(candidates) == 1 else None


def others_left_alone(declared: Iterable[Manifest], live: Sequence[DaemonSet], owner: str) -> str:
    """What else the stacks have from which objects are taken over, in words; empty for nothing."""
    declared = list(declared)
    others = _undeclared_modules(declared, live, _owners(declared, live) - {owner})
    if not others:
        return ""
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return (
        f"{len(others)} Modules of the stack whose objects are taken over are not in this definition, and are left "
        f"alone: {', '.join(others[:_SHOWN])}{more}. If that stack is no more, and they are to be unloaded: "
        "kubectl delete daemonsets --namespace NAMESPACE --selector kmm.node.kubernetes.io/module.name=NAME"
    )


def _owners(declared: Iterable[Manifest], live: Iterable[DaemonSet]) -> set[str | None]:
    """Whose the declared DaemonSets are that live already; None for nobody's."""
    names = {(manifest["metadata"]["namespace"], manifest["metadata"]["name"]) for manifest in declared}
    return {one.labels.get(INSTANCE_LABEL) for one in live if (one.namespace, one.name) in names}


def _undeclared_modules(
    declared: Iterable[Manifest], live: Iterable[DaemonSet], owners: Container[str | None]
) -> list[str]:
    modules = {f"{one['metadata']['namespace']}/{one['metadata']['labels'][MODULE_NAME_LABEL]}" for one in declared}
    running = {one.module for one in live if one.labels.get(INSTANCE_LABEL) in owners}
    return sorted(running - modules)


def _belongs(daemon_set: DaemonSet) -> str:
    owner: Mapping[str, str] = daemon_set.labels
    return f"of stack {owner[INSTANCE_LABEL]}" if INSTANCE_LABEL in owner else "of no stack"
