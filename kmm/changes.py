"""What a run would do to modules that are loaded now: which nodes load, reload, unload. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kmm.kernel import kernel_label_value
from kmm.manifests import KernelManifests
from kmm.names import (
    KERNEL_LABEL,
    MODULE_NAME_LABEL,
    ROLE_MODULE_LOADER,
    TEMPLATE_HASH_ANNOTATION,
    ready_label,
)
from kmm.nodes import Node, by_kernel_label, selected, takes_daemon_sets
from kmm.workloads import DaemonSet

_SHOWN = 10  # nodes named in one message
_ByKernel = Mapping[str, Sequence[Node]]  # by the value of the kernel label


class Kind(StrEnum):
    """What happens to a module on the nodes of a loader."""

    LOAD = "load"
    RELOAD = "reload"
    UNLOAD = "unload"
    LEAVE = "leave"  # the node runs another kernel by now


_DONE = {
    Kind.LOAD: "is loaded",
    Kind.RELOAD: "is unloaded and loaded again, because its loader changes,",
    Kind.UNLOAD: "is unloaded",
    Kind.LEAVE: "is, as they run another kernel now, not looked after any more",
}
_DONE_WITHOUT_UNLOADING = {
    **_DONE,
    Kind.RELOAD: "stays in the kernel as it is, because its unload policy is Never: its loader's change counts from "
    "the next boot on,",
    Kind.UNLOAD: "stays in the kernel until the next boot, because its unload policy is Never,",
}


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A loader that comes, changes or goes, and the nodes on which the kernel sees it.

    `module` is `namespace/name`, `kernel` the value of the kernel label, `daemon_set` the loader's name, `unloads`
    whether the loader that runs now would unload.
    """

    module: str
    kernel: str
    kind: Kind
    daemon_set: str
    nodes: tuple[str, ...]
    unloads: bool = True

    @property
    def namespace(self) -> str:
        """That of the Module and of the DaemonSet."""
        return self.module.partition("/")[0]

    @property
    def loader(self) -> str:
        """`namespace/name` of the DaemonSet."""
        return f"{self.namespace}/{self.daemon_set}"

    @property
    def disturbs(self) -> bool:
        """Whether a module that is loaded goes, for a moment or for good."""
        return self.kind in (Kind.RELOAD, Kind.UNLOAD)

    @property
    def frees(self) -> bool:
        """Whether what uses the module has to leave before: it is unloaded, or nobody looks after it any more."""
        return self.kind is not Kind.LOAD and (self.unloads or self.kind is not Kind.RELOAD)

    def __str__(self) -> str:
        done = (_DONE if self.unloads else _DONE_WITHOUT_UNLOADING)[self.kind]
        more = f" and {len(self.nodes) - _SHOWN} more" if len(self.nodes) > _SHOWN else ""
        return f"{self.module} {done} for kernel {self.kernel} on nodes {', '.join(self.nodes[:_SHOWN])}{more}"


def coming_modules(changes: Iterable[Change]) -> dict[str, set[str]]:
    """Node name to the Modules (`namespace/name`) that get a loader there which they have not."""
    coming: dict[str, set[str]] = {}
    for change in changes:
        if change.kind is Kind.LOAD:
            for node in change.nodes:
                coming.setdefault(node, set()).add(change.module)
    return coming


def losing_nodes(before: Iterable[Node], after: Iterable[Node]) -> frozenset[str]:
    """Names of the nodes whose kernel label goes or changes."""
    return frozenset(
        node.name
        for node, then in zip(before, after, strict=True)
        if KERNEL_LABEL in node.labels and node.labels[KERNEL_LABEL] != then.labels.get(KERNEL_LABEL)
    )


def relabelled(nodes: Iterable[Node], wanted: Mapping[str, Mapping[str, str]], label_owner: str = "") -> list[Node]:
    """The nodes with the kernel labels that are `wanted`, by node name.

    Others lose theirs, unless others than `label_owner` (`kmm.label_ownership`) put it on; empty for everybody's.
    """

    def keeps(node: Node) -> bool:
        owners = node.label_owners.get(KERNEL_LABEL, frozenset())
        ours = {owner for owner in owners if owner.startswith(f"{label_owner}.")}
        return bool(label_owner) and (not owners or owners != ours)

    def after(node: Node) -> Node:
        labels = {key: value for key, value in node.labels.items() if key != KERNEL_LABEL}
        return replace(node, labels={**labels, **wanted.get(node.name, {})})

    return [node if node.name not in wanted and keeps(node) else after(node) for node in nodes]


def loader_changes(
    declared: Iterable[KernelManifests],
    live: Iterable[DaemonSet],
    before: Sequence[Node],
    after: Sequence[Node],
    is_ours: Callable[[DaemonSet], bool],
) -> tuple[Change, ...]:
    """How the declared loaders differ from those that run now, and which nodes they gain and lose.

    `before` and `after` are the nodes as they are now and as this run labels them. Loaders that are neither declared
    nor ours are left alone.
    """
    running = {(one.namespace, one.name): one for one in live if one.role == ROLE_MODULE_LOADER}
    wanted = {(one.loader["metadata"]["namespace"], one.loader["metadata"]["name"]): one for one in declared}
    gone = [one for key, one in running.items() if key not in wanted and is_ours(one)]
    now, then = by_kernel_label(before), by_kernel_label(after)
    return tuple(
        sorted(
            [
                *(change for key, one in wanted.items() for change in _changes(one, running.get(key), now, then)),
                *(change for one in gone for change in _unloads(one, _places(one, now))),
            ]
        )
    )


def _changes(
    declared: KernelManifests, running: DaemonSet | None, before: _ByKernel, after: _ByKernel
) -> Iterator[Change]:
    metadata = declared.loader["metadata"]
    labels, name = metadata["labels"], metadata["name"]
    module, kernel = f"{metadata['namespace']}/{labels[MODULE_NAME_LABEL]}", labels[KERNEL_LABEL]
    now = _places(running, before, declared.kernel.nodes) if running else {}
    comes = tuple(node for node in declared.kernel.nodes if node not in now)
    if comes:
        yield Change(module, kernel, Kind.LOAD, name, comes)
    if running is None:
        return
    then = _selected(declared.loader["spec"]["template"]["spec"]["nodeSelector"], after)
    is_changed = running.template_hash != metadata["annotations"][TEMPLATE_HASH_ANNOTATION]
    stays = {one: node for one, node in now.items() if one in then and not (is_changed and _refuses(declared, node))}
    yield from _unloads(running, {one: node for one, node in now.items() if one not in stays})
    if stays and is_changed:
        yield Change(module, kernel, Kind.RELOAD, name, tuple(stays), running.unloads)


def _places(running: DaemonSet, nodes: _ByKernel, used: Collection[str] = ()) -> dict[str, Node]:
    """Nodes where the loader's pods are: where they come to, and beyond a taint those `used`, or Ready before it."""
    label = ready_label(*running.module.split("/"))
    return {
        name: node
        for name, node in _selected(running.node_selector, nodes).items()
        if takes_daemon_sets(node, running.tolerations) or label in node.labels or name in used
    }


def _refuses(declared: KernelManifests, node: Node) -> bool:
    """Whether a pod that ends on the node has no successor there until a taint goes."""
    tolerations = declared.kernel.resolved.module.spec.tolerations if declared.kernel.resolved else ()
    return not takes_daemon_sets(node, tolerations)


def _unloads(running: DaemonSet, nodes: Mapping[str, Node]) -> Iterator[Change]:
    by_kind: dict[Kind, list[str]] = {}
    for name, node in nodes.items():
        runs_it = kernel_label_value(node.kernel_version) == running.kernel
        by_kind.setdefault(Kind.UNLOAD if runs_it else Kind.LEAVE, []).append(name)
    for kind, names in by_kind.items():
        yield Change(running.module, running.kernel, kind, running.name, tuple(names), running.unloads)


def _selected(selector: Mapping[str, str], nodes: _ByKernel) -> dict[str, Node]:
    """All loaders select by the kernel's label, so that a few nodes of thousands are looked at."""
    return {node.name: node for node in nodes.get(selector.get(KERNEL_LABEL, ""), ()) if selected(node, selector)}
