"""DaemonSets of an earlier `container.version` that stay as they are while nodes still ask for that version. Pure.

The user moves nodes one by one, by their version label (the operator's ordered upgrade). What an earlier version was
is in the cluster and in the stack's state, and no longer in the Module.
"""

from collections.abc import Iterable, Sequence

from kmm.definition import Module
from kmm.kernel import kernel_label_value
from kmm.names import (
    INSTANCE_LABEL,
    KERNEL_LABEL,
    ROLE_MODULE_LOADER,
    device_plugin_ready_label,
    ready_label,
    version_label,
)
from kmm.nodes import Node, selected
from kmm.rollout import Workload
from kmm.workloads import DaemonSet


def kept_versions(
    modules: Iterable[Module], live: Iterable[DaemonSet], nodes: Sequence[Node], owner: str
) -> tuple[DaemonSet, ...]:
    """This stack's DaemonSets of another version than their Module's, as long as a node carries their version label."""
    versions = {
        module.key: (version_label(module.metadata.namespace, module.metadata.name), version)
        for module in modules
        if (version := module.spec.module_loader.container.version)
    }
    return tuple(
        one
        for one in live
        if one.module in versions
        and one.labels.get(INSTANCE_LABEL) == owner
        and _is_asked_for(one, *versions[one.module], nodes)
    )


def kept_workload(daemon_set: DaemonSet, kept: Sequence[DaemonSet], nodes: Sequence[Node]) -> Workload:
    """Where a kept DaemonSet's pods shall be Ready: its device plugin wherever one of its loaders is."""
    namespace, _, module = daemon_set.module.partition("/")
    is_loader = daemon_set.role == ROLE_MODULE_LOADER
    label = ready_label if is_loader else device_plugin_ready_label
    loaders = [daemon_set] if is_loader else [one for one in kept if _same_version(one, daemon_set)]
    return Workload(
        module=daemon_set.module,
        namespace=namespace,
        name=daemon_set.name,
        role=daemon_set.role,
        template_hash=daemon_set.template_hash,
        label=label(namespace, module),
        nodes=tuple(node.name for node in nodes if any(selected(node, one.node_selector) for one in loaders)),
    )


def kept_kernel_labels(kept: Iterable[DaemonSet], nodes: Sequence[Node]) -> dict[str, dict[str, str]]:
    """Node name to the kernel label that keeps the pods of kept loaders there."""
    return {
        node.name: {KERNEL_LABEL: node.labels[KERNEL_LABEL]}
        for one in kept
        for node in nodes
        if one.role == ROLE_MODULE_LOADER
        and one.kernel == kernel_label_value(node.kernel_version)
        and selected(node, one.node_selector)
    }


def _is_asked_for(daemon_set: DaemonSet, label: str, version: str, nodes: Iterable[Node]) -> bool:
    own = daemon_set.labels.get(label)
    return own is not None and own != version and any(node.labels.get(label) == own for node in nodes)


def _same_version(loader: DaemonSet, device_plugin: DaemonSet) -> bool:
    namespace, _, module = device_plugin.module.partition("/")
    label = version_label(namespace, module)
    same_module = (loader.module, loader.role) == (device_plugin.module, ROLE_MODULE_LOADER)
    return same_module and loader.labels.get(label) == device_plugin.labels.get(label)
