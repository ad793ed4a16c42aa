"""What a run would do to modules that are loaded now: which nodes load, reload, unload. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kmm.names import INSTANCE_LABEL, KERNEL_LABEL, MODULE_NAME_LABEL, ROLE_MODULE_LOADER, TEMPLATE_HASH_ANNOTATION
from kmm.nodes import Node, selected
from kmm.workloads import DaemonSet

_SHOWN = 10  # nodes named in one message


class Kind(StrEnum):
    """What happens to a module on the nodes of a loader."""

    LOAD = "load"
    RELOAD = "reload"
    UNLOAD = "unload"


_DONE = {
    Kind.LOAD: "is loaded",
    Kind.RELOAD: "is unloaded and loaded again, because its loader changes,",
    Kind.UNLOAD: "is unloaded",
}
_DONE_WITHOUT_UNLOADING = {
    Kind.LOAD: "is loaded",
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

    def __str__(self) -> str:
        done = (_DONE if self.unloads else _DONE_WITHOUT_UNLOADING)[self.kind]
        more = f" and {len(self.nodes) - _SHOWN} more" if len(self.nodes) > _SHOWN else ""
        where = f"nodes {', '.join(self.nodes[:_SHOWN])}{more}" if self.nodes else "no node"
        return f"{self.module} {done} for kernel {self.kernel} on {where}"


def loader_changes(
    declared: Iterable[Mapping[str, Any]], live: Sequence[DaemonSet], nodes: Sequence[Node], owner: str
) -> tuple[Change, ...]:
    """How the declared loaders (manifests) differ from those that run now; `owner` is the stack's instance label.

    Loaders of other stacks are left alone.
    """
    running = {(one.namespace, one.name): one for one in live if one.role == ROLE_MODULE_LOADER}
    wanted = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in declared}
    changes = [
        _change(manifest, running.get(key), nodes)
        for key, manifest in wanted.items()
        if key not in running or running[key].template_hash != _template_hash(manifest)
    ]
    gone = [
        Change(one.module, one.kernel, Kind.UNLOAD, one.name, _nodes(one.node_selector, nodes), one.unloads)
        for key, one in running.items()
        if key not in wanted and one.labels.get(INSTANCE_LABEL) == owner
    ]
    return tuple(sorted(changes + gone))


def _change(manifest: Mapping[str, Any], running: DaemonSet | None, nodes: Sequence[Node]) -> Change:
    metadata, selector = manifest["metadata"], manifest["spec"]["template"]["spec"]["nodeSelector"]
    kernel = metadata["labels"][KERNEL_LABEL]
    # Nodes get their kernel label in the same run, so that it is the other labels and the kernel that tell.
    names = _nodes(selector if running else {}, nodes)
    return Change(
        f"{metadata['namespace']}/{metadata['labels'][MODULE_NAME_LABEL]}",
        kernel,
        Kind.RELOAD if running else Kind.LOAD,
        metadata["name"],
        names,
        running.unloads if running else True,
    )


def _nodes(selector: Mapping[str, str], nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes if selector and selected(node, selector))


def _template_hash(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION])
