"""What a run declares besides the objects of the Modules: labels of nodes, and the wait for pods. Pure.

`owner` is the stack's name on the cluster. It marks the stack's objects and begins the names of its field managers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kmm.changes import Change, Kind
from kmm.errors import PlanError
from kmm.manifests import KernelManifests, Manifest, ModuleManifests
from kmm.manifests.common import digest
from kmm.names import INSTANCE_LABEL, ROLE_DEVICE_PLUGIN, ready_label
from kmm.nodes import Node
from kmm.rollout import Workload, device_plugin_workload, loader_workload
from kmm.workloads import DaemonSet

_SHOWN = 10  # objects named in one message


@dataclass(frozen=True)
class Wait:
    """Workloads that the Rollout `name` waits for; `manager` owns their ready labels."""

    name: str
    manager: str
    workloads: tuple[Workload, ...]


def kernel_label_owner(owner: str) -> str:
    """Owner of the kernel labels of the nodes."""
    return f"{owner}.kernel"


def ready_label_manager(owner: str) -> str:
    """Field manager of the ready labels of the nodes."""
    return f"{owner}.ready"


def main_wait(modules: Iterable[ModuleManifests], kept: Iterable[Workload], owner: str) -> Wait:
    """The wait for everything whose image is there, `kept` workloads of earlier versions too.

    A loader may run although its image is to be made again, as a registry lost it: its labels are left alone.
    """
    workloads = list(kept)
    for module in modules:
        for gated in (False, True):
            found = [one for one in module.kernels if one.kernel.gated is gated]
            kernels = [one.kernel for one in found]
            workloads += (replace(loader_workload(one.kernel, one.loader), awaited=not gated) for one in found)
            workloads += (
                replace(device_plugin_workload(kernels, plugin), awaited=not gated)
                for plugin in module.device_plugins
                if found or not gated
            )
    return Wait("rollout", ready_label_manager(owner), tuple(workloads))


def gated_wait(kernel: KernelManifests, owner: str) -> Wait:
    """The wait for a loader whose image this run has to make first."""
    workload = loader_workload(kernel.kernel, kernel.loader)
    manager = f"{ready_label_manager(owner)}-{digest([workload.namespace, workload.name])}"
    return Wait(f"rollout/{workload.namespace}/{workload.name}", manager, (workload,))


def labels_to_release(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Node name to the ready labels that must go before modules are unloaded there."""
    release: dict[str, set[str]] = {}
    for change in changes:
        if change.kind is not Kind.LOAD:
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
        f"{one.namespace}/{one.name}"
        for one in live
        if one.labels.get(INSTANCE_LABEL) == owner and (one.namespace, one.name) not in wanted
    ]


def device_plugins_of(changes: Iterable[Change], live: Iterable[DaemonSet]) -> list[str]:
    """`namespace/name` of the device plugins of Modules that are unloaded somewhere."""
    modules = {change.module for change in changes if change.kind is not Kind.LOAD}
    return [f"{one.namespace}/{one.name}" for one in live if one.role == ROLE_DEVICE_PLUGIN and one.module in modules]


def refuse_strangers(declared: Iterable[Manifest], live: Sequence[DaemonSet], owner: str) -> None:
    """Raise PlanError when a DaemonSet to declare is there already and is not this stack's.

    The engine would only find out in the middle of `up`.
    """
    running = {(one.namespace, one.name): one for one in live}
    strangers = [
        f"{one.namespace}/{one.name} ({_belongs(one)})"
        for manifest in declared
        if (one := running.get((manifest["metadata"]["namespace"], manifest["metadata"]["name"]))) is not None
        and one.labels.get(INSTANCE_LABEL) != owner
    ]
    if strangers:
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        raise PlanError(
            f"{len(strangers)} DaemonSets exist already and are not this stack's: "
            f"{', '.join(strangers[:_SHOWN])}{more}. If another stack deploys these Modules, take them out of one of "
            "the two. If this stack lost its state, take its objects over, which unloads nothing: "
            "PULUMI_K8S_UPSERT_EXISTING_OBJECTS=true pulumi up"
        )


def former_owner(declared: Iterable[Manifest], live: Sequence[DaemonSet], nodes: Iterable[Node]) -> str | None:
    """The owner of what a lost state left behind, None when that is not just one stack.

    It shows in live DaemonSets that are declared again; after a run that was killed before it made any, in labels of
    nodes that belong to nobody who has a DaemonSet.
    """
    running = {(one.namespace, one.name): one.labels.get(INSTANCE_LABEL) for one in live}
    names = {(manifest["metadata"]["namespace"], manifest["metadata"]["name"]) for manifest in declared}
    owners = {running[name] for name in names & running.keys()}
    managers = {manager for node in nodes for owned_by in node.label_owners.values() for manager in owned_by}
    labelling = {
        owner for owner, kernel, _ in (manager.partition(kernel_label_owner("")) for manager in managers) if kernel
    }
    candidates = owners or labelling - set(running.values())
    return candidates.pop() if len(candidates) == 1 else None


def _belongs(daemon_set: DaemonSet) -> str:
    owner: Mapping[str, str] = daemon_set.labels
    return f"of stack {owner[INSTANCE_LABEL]}" if INSTANCE_LABEL in owner else "of no stack"
