"""The decision: (modules, nodes, images) to one frozen Plan. Pure; sorted; independent of the input's order.

`kmm.used_nodes` says which nodes count for a Module.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from kmm.definition import Module
from kmm.errors import PlanError
from kmm.kernel import trim_kernel_version
from kmm.mapping import ResolvedKernel, resolve, version_selector
from kmm.names import FUTURE_KERNELS_ANNOTATION
from kmm.nodes import Node, refusing_taint, selected
from kmm.used_nodes import LiveLoaders, UsedNodes, used_nodes

_NOTHING_LIVE: Final = LiveLoaders()


class Action(StrEnum):
    """What is done for a Module on a kernel, in this order."""

    BUILD = "build"
    SIGN = "sign"
    LOAD = "load"


@dataclass(frozen=True)
class Images:
    """Which images exist: digest by reference, None for an absent one; `assume` speaks for all others."""

    digests: Mapping[str, str | None] = field(default_factory=dict)
    assume_present: bool = True

    def exists(self, image: str) -> bool:
        """Whether the image is in its registry, as far as was asked."""
        return self.digests[image] is not None if image in self.digests else self.assume_present


@dataclass(frozen=True)
class KernelPlan:
    """A Module on one kernel: on which nodes, from what, by which actions, or why not (`reason`)."""

    version: str
    nodes: tuple[str, ...]
    resolved: ResolvedKernel | None
    actions: tuple[Action, ...]
    reason: str | None = None

    @property
    def gated(self) -> bool:
        """Whether the image has to be made first: the loader waits for a Job."""
        return Action.BUILD in self.actions or Action.SIGN in self.actions


@dataclass(frozen=True)
class ModulePlan:
    """A Module and its kernels, sorted by version; `future` are those that no node of it runs yet."""

    module: Module
    kernels: tuple[KernelPlan, ...]
    future: tuple[KernelPlan, ...] = ()


@dataclass(frozen=True, order=True)
class IgnoredNode:
    """A node that a Module does not use, and why."""

    node: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that is to be declared; modules sorted by namespace and name."""

    modules: tuple[ModulePlan, ...]
    ignored: tuple[IgnoredNode, ...]

    def kernel_labels(self) -> dict[str, dict[str, str]]:
        """Node name to its kernel label, for each node on which a module is to be loaded."""
        return {
            node: kernel.resolved.kernel_label
            for module in self.modules
            for kernel in module.kernels
            if kernel.resolved is not None and Action.LOAD in kernel.actions
            for node in kernel.nodes
        }


def make_plan(
    modules: Iterable[Module],
    nodes: Iterable[Node],
    images: Images,
    future_kernels: Iterable[str] = (),
    live: LiveLoaders = _NOTHING_LIVE,
) -> Plan:
    """Decide for each Module and kernel what is to be done.

    `future_kernels` are planned for images alone, with those of each Module's annotation; `live` is what keeps its
    nodes. Never fails for a single Module or node: what cannot be done is in the plan with its reason.
    """
    by_name = sorted(nodes, key=lambda node: node.name)
    kernels = _group_by_kernel(node for node in by_name if node.kernel_version)
    guarded = frozenset(node.name for node in by_name if refusing_taint(node, ()) is not None)
    future_kernels = tuple(future_kernels)
    ordered = sorted(modules, key=lambda module: (module.metadata.namespace, module.metadata.name))
    uses = [used_nodes(module, kernels, guarded, live) for module in ordered]
    return Plan(
        modules=tuple(
            ModulePlan(use.module, _plan_kernels(use, images), _plan_future(use, images, future_kernels))
            for use in uses
        ),
        ignored=_ignored(by_name, uses),
    )


def _group_by_kernel(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    by_kernel: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        by_kernel[trim_kernel_version(node.kernel_version)].append(node)
    return dict(sorted(by_kernel.items()))


def _with_version(module: Module, nodes: Sequence[Node]) -> list[Node]:
    """The nodes whose version label asks for this version; on the others the loader waits for the label to move."""
    asked = version_selector(module)
    return [node for node in nodes if selected(node, asked)]


def _ignored(nodes: Sequence[Node], uses: Iterable[UsedNodes]) -> tuple[IgnoredNode, ...]:
    taken: set[str] = set()
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for use in uses:
        usable = [node for found in use.kernels.values() for node in found]
        served = {node.name for node in _with_version(use.module, usable)}
        taken |= served
        waiting = {node.name: _other_version(use.module) for node in usable if node.name not in served}
        for node, reason in {**use.refused, **waiting}.items():
            reasons[node][reason].append(use.module.key)
    ignored = [
        IgnoredNode(node, f"{', '.join(keys)}: {reason}" if node in taken or len(found_reasons) > 1 else reason)
        for node, found_reasons in reasons.items()
        for reason, keys in found_reasons.items()
    ]
    unselected = (node for node in nodes if node.name not in taken and node.name not in reasons)
    return tuple(sorted([*ignored, *(IgnoredNode(node.name, _unselected(node)) for node in unselected)]))


def _other_version(module: Module) -> str:
    label, version = next(iter(version_selector(module).items()))
    return f"label {label} is not {version}"


def _unselected(node: Node) -> str:
    return "no Module selects it" if node.kernel_version else "its kubelet has not reported a kernel version yet"


def _plan_kernels(use: UsedNodes, images: Images) -> tuple[KernelPlan, ...]:
    return tuple(
        _plan_kernel(use.module, use.releases[kernel], nodes, images, use.obstacles.get(kernel))
        for kernel, nodes in use.kernels.items()
    )


def _plan_future(use: UsedNodes, images: Images, kernels: Iterable[str]) -> tuple[KernelPlan, ...]:
    own = use.module.metadata.annotations.get(FUTURE_KERNELS_ANNOTATION, "").replace(",", " ").split()
    plans = (_plan_kernel(use.module, kernel, (), images, None) for kernel in sorted({*kernels, *own}))
    return tuple(
        replace(plan, actions=tuple(action for action in plan.actions if action is not Action.LOAD))
        for plan in plans
        if plan.version not in use.kernels
    )


def _plan_kernel(
    module: Module, release: str, nodes: Sequence[Node], images: Images, obstacle: str | None
) -> KernelPlan:
    names = tuple(node.name for node in _with_version(module, nodes))
    try:
        resolved = resolve(module, release)
    except PlanError as error:
        resolved, obstacle = None, obstacle or str(error)
    if obstacle is None and resolved is None:
        obstacle = "no kernel mapping matches"
    if obstacle is not None or resolved is None:
        return KernelPlan(trim_kernel_version(release), names, None, (), obstacle)
    return KernelPlan(resolved.kernel, names, resolved, _actions(resolved, images))


def _actions(resolved: ResolvedKernel, images: Images) -> tuple[Action, ...]:
    if resolved.obstacle is not None or images.exists(resolved.image):
        return (Action.LOAD,)
    if resolved.sign is None:
        return (Action.BUILD, Action.LOAD)
    if resolved.build is None or (resolved.unsigned_image in images.digests and images.exists(resolved.build_image)):
        return (Action.SIGN, Action.LOAD)
    return (Action.BUILD, Action.SIGN, Action.LOAD)
