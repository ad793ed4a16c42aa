"""Which nodes a Module uses, kernel by kernel, and why not others. Pure.

A node counts for a Module when it carries the Module's selector and takes the pods of its loader. Where the loader is
already, the node keeps counting though it is cordoned, tainted or not ready: cordoning a node or a hiccup of its
kubelet must not unload modules (Kubernetes does not evict there either). Only label removal by hand, another kernel
or a change of the Module takes a node out.

Nodes know their kernel by a label value, which several kernels may share. One of them has it: that of the loader that
runs, for another would change that loader, or end it, and with it unload modules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kmm.definition import Module
from kmm.kernel import kernel_label_value, trim_kernel_version
from kmm.names import KERNEL_LABEL, label_value, ready_label, version_label
from kmm.nodes import CORDON, Node, refusing_taint, selected, takes_daemon_sets
from kmm.workloads import DaemonSet, Pod


@dataclass(frozen=True)
class LiveLoaders:
    """What is known of the loaders that run.

    `releases`: the kernel that a loader was made for, as nodes report it, by Module, version and kernel label.
    `places`: the Module and the node of each loader pod, as far as pods were read (`pods_needed`).
    """

    releases: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    places: frozenset[tuple[str, str]] = frozenset()

    def release(self, module: Module, kernel: str) -> str | None:
        """What the loader of this Module that has the label value of `kernel` was made for, if there is one."""
        version = module.spec.module_loader.container.version or ""
        return self.releases.get((module.key, version, label_value(kernel)))

    def is_on(self, module: Module, node: Node) -> bool:
        """Whether a loader of the Module is on the node, or was Ready there when the labels were last set."""
        return _was_ready(module, node) or (module.key, node.name) in self.places


def live_loaders(daemon_sets: Iterable[DaemonSet], pods: Iterable[Pod]) -> LiveLoaders:
    """What lists of them say; `daemon_sets` may hold device plugins too, `pods` are those of loaders."""
    return LiveLoaders(
        {
            (one.module, one.labels.get(version_label(*one.module.split("/")), ""), one.kernel): one.release
            for one in daemon_sets
            if one.release
        },
        frozenset((pod.module, pod.node) for pod in pods if not pod.deleting),
    )


def pods_needed(modules: Iterable[Module], nodes: Iterable[Node]) -> bool:
    """Whether it takes a list of loader pods to tell if a taint keeps a Module off a node, or came after it."""
    doubtful = [node for node in nodes if refusing_taint(node, ()) is not None and is_labelled(node)]
    return any(
        selected(node, module.spec.selector)
        and refusing_taint(node, module.spec.tolerations) is not None
        and not _was_ready(module, node)
        for module in modules
        for node in doubtful
    )


@dataclass(frozen=True)
class UsedNodes:
    """The nodes of a Module by kernel, without a trailing `+`; `releases` has each kernel as these nodes report it.

    `refused`: nodes that its selector takes and that it does not use, with the reason.
    `obstacles`: kernels that cannot be served, with the reason.
    """

    module: Module
    kernels: Mapping[str, Sequence[Node]]
    releases: Mapping[str, str]
    refused: Mapping[str, str]
    obstacles: Mapping[str, str]


def used_nodes(
    module: Module, kernels: Mapping[str, Sequence[Node]], guarded: frozenset[str], live: LiveLoaders
) -> UsedNodes:
    """The choice among `kernels`, all nodes by kernel; a taint or cordon may keep it off those named in `guarded`."""
    selector = module.spec.selector
    used: dict[str, list[Node]] = {}
    releases: dict[str, str] = {}
    refused: dict[str, str] = {}
    chosen = {kernel: [node for node in nodes if selected(node, selector)] for kernel, nodes in kernels.items()}
    for kernel, nodes in chosen.items():
        refused |= _refused_for_taints(module, kernel, nodes, guarded, live)
        usable = [node for node in nodes if node.name not in refused]
        if usable:
            releases[kernel] = _release(module, kernel, usable, live)
            refused |= _refused_for_release(module, usable, releases[kernel])
            used[kernel] = [node for node in usable if node.name not in refused]
    # Refused nodes count here: one may carry the label of another kernel's DaemonSet.
    obstacles = _ambiguous_kernels(module, {kernel: nodes for kernel, nodes in chosen.items() if nodes}, live)
    return UsedNodes(module, used, releases, refused, obstacles)


def is_labelled(node: Node) -> bool:
    """Whether the node carries the label of its running kernel: pods of loaders may be there."""
    return node.labels.get(KERNEL_LABEL) == kernel_label_value(node.kernel_version)


def _was_ready(module: Module, node: Node) -> bool:
    return ready_label(module.metadata.namespace, module.metadata.name) in node.labels


def _refused_for_taints(
    module: Module, kernel: str, nodes: Sequence[Node], guarded: frozenset[str], live: LiveLoaders
) -> dict[str, str]:
    tolerations = module.spec.tolerations
    tainted = [node for node in nodes if node.name in guarded and refusing_taint(node, tolerations) is not None]
    has_loader = len(tainted) < len(nodes) or live.release(module, kernel) is not None

    def stays(node: Node) -> bool:
        """Also where a pod is going to come anyway: a cordon keeps none off a node that carries the label.

        In the midst of a reload neither a label nor a pod may tell that the module was there.
        """
        comes = has_loader and takes_daemon_sets(node, tolerations)
        return is_labelled(node) and (comes or live.is_on(module, node))

    return {node.name: _taint_words(node, module) for node in tainted if not stays(node)}


def _taint_words(node: Node, module: Module) -> str:
    taint = refusing_taint(node, module.spec.tolerations)
    return "unschedulable: the node is cordoned" if taint == CORDON else f"taint {taint} is not tolerated"


def _release(module: Module, kernel: str, nodes: Iterable[Node], live: LiveLoaders) -> str:
    """With or without a trailing `+`: a loader mounts the folder of just one, and no label tells them apart."""
    reported = {node.kernel_version for node in nodes}
    running = live.release(module, kernel)
    return running if running in reported else min(reported)


def _refused_for_release(module: Module, nodes: Iterable[Node], release: str) -> dict[str, str]:
    """Nodes of the other kernel, unless the module is loaded there in spite of it: that is not for us to undo."""
    return {
        node.name: f"kernel {node.kernel_version}: {_shares(node.kernel_version, release)}"
        for node in nodes
        if node.kernel_version != release and not (is_labelled(node) and _was_ready(module, node))
    }


def _ambiguous_kernels(module: Module, kernels: Mapping[str, Sequence[Node]], live: LiveLoaders) -> dict[str, str]:
    """Kernels that cannot be told apart by their label value, each with the reason.

    That of the loader that runs keeps it; else one whose nodes carry the label, as a new node must not unload modules
    elsewhere; else one that is its own label value; else the first in order.
    """

    def precedence(kernel: str) -> tuple[bool, bool, bool, str]:
        runs = trim_kernel_version(live.release(module, kernel) or "") == kernel
        return not runs, not any(map(is_labelled, kernels[kernel])), kernel != label_value(kernel), kernel

    owners: dict[str, str] = {}
    obstacles = {}
    for kernel in sorted(kernels, key=precedence):
        value = label_value(kernel)
        owner = owners.setdefault(value, kernel)
        if not value:
            obstacles[kernel] = f"kernel version {kernel!r} makes no label value"
        elif owner != kernel:
            obstacles[kernel] = _shares(kernel, owner)
    return obstacles


def _shares(kernel: str, owner: str) -> str:
    return f"its label value {label_value(kernel)} is also that of kernel {owner}"
