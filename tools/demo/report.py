"""What came out, read back from the cluster and from the stack's outputs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from kmm.commands.tables import Table
from kmm.names import KERNEL_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NODE_PREFIX, device_plugin_ready_label, ready_label
from tools.api import Api


@dataclass(frozen=True)
class Picture:
    """The cluster at one moment: DaemonSets by `namespace/name` and nodes by name, as the API has them."""

    daemon_sets: Mapping[str, Any]
    nodes: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @classmethod
    def take(cls, api: Api, outputs: Mapping[str, Any]) -> "Picture":
        """Read both."""
        found = api.request("GET", f"/apis/apps/v1/daemonsets?labelSelector={MANAGED_BY_LABEL}%3D{MANAGED_BY}")["items"]
        names = {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one for one in found}
        nodes = {one["metadata"]["name"]: one for one in api.request("GET", "/api/v1/nodes")["items"]}
        return cls(names, nodes, outputs)

    def labels(self, node: str) -> Mapping[str, str]:
        """The labels of a node."""
        labels: Mapping[str, str] = self.nodes[node]["metadata"]["labels"]
        return labels


@dataclass(frozen=True)
class Difference:
    """DaemonSets that came, went, changed, and those that no one touched."""

    came: Sequence[str]
    went: Sequence[str]
    changed: Sequence[str]
    untouched: Sequence[str]

    @classmethod
    def between(cls, before: Picture, after: Picture) -> "Difference":
        """Compare by name and generation, which any change of a specification raises."""
        old, new = _generations(before), _generations(after)
        kept = sorted(old.keys() & new.keys())
        return cls(
            came=sorted(new.keys() - old.keys()),
            went=sorted(old.keys() - new.keys()),
            changed=[name for name in kept if old[name] != new[name]],
            untouched=[name for name in kept if old[name] == new[name]],
        )


def _generations(picture: Picture) -> dict[str, tuple[str, int]]:
    return {name: (one["metadata"]["uid"], one["metadata"]["generation"]) for name, one in picture.daemon_sets.items()}


def print_modules(picture: Picture, console: Console, before: Picture | None = None) -> None:
    """Print each Module and its kernels with nodes, image and state; after `before`, only what changed since."""
    table = Table("MODULE", "KERNEL", "NODES", "IMAGE", "STATE", below=2)
    for key, module in sorted(picture.outputs["modules"].items()):
        if before is None or module != before.outputs["modules"].get(key):
            for index, row in enumerate(_module_rows(key, module, picture)):
                table.add_row("" if index else key, *row)
    _print(table, console)


def print_nodes(picture: Picture, console: Console) -> None:
    """Print each node with its kernel and ready labels, or why it has none."""
    table = Table("NODE", "KERNEL", f"READY LABELS ({NODE_PREFIX}…)")
    for name, node in sorted(picture.nodes.items()):
        reasons = picture.outputs["ignored"].get(name, [])
        ready = _ready_labels(picture.labels(name))
        words = ", ".join(ready) or "; ".join(reasons) or _skipped(name, picture.outputs["modules"])
        table.add_row(name, node["status"]["nodeInfo"]["kernelVersion"], words, style="" if ready else "yellow")
    _print(table, console)


def _module_rows(key: str, module: Mapping[str, Any], picture: Picture) -> Iterator[Sequence[str]]:
    namespace, _, name = key.partition("/")
    used: list[str] = []
    for version, kernel in sorted(module["kernels"].items()):
        nodes = kernel["nodes"]
        if kernel["reason"]:
            yield version, ", ".join(nodes), "-", f"[yellow]not loaded: {kernel['reason']}[/]"
            continue
        used += nodes
        state = _state("loaded", nodes, ready_label(namespace, name), picture)
        yield version, ", ".join(nodes), _short(kernel["image"]), state
    if module["devicePlugin"]:
        plugin = picture.daemon_sets[f"{namespace}/{module['devicePlugin']}"]
        image = plugin["spec"]["template"]["spec"]["containers"][0]["image"]
        state = _state("running", used, device_plugin_ready_label(namespace, name), picture)
        yield "device plugin", ", ".join(sorted(used)), _short(image), state


def _state(word: str, nodes: Sequence[str], label: str, picture: Picture) -> str:
    ready = sum(label in picture.labels(node) for node in nodes)
    style = "green" if ready == len(nodes) else "red"
    return f"[{style}]{word} on {ready} of {len(nodes)}[/]"


def _short(image: str) -> str:
    return image.partition("/")[2]


def _ready_labels(labels: Iterable[str]) -> list[str]:
    ours = (label.removeprefix(NODE_PREFIX) for label in labels if label.startswith(NODE_PREFIX))
    return sorted(label for label in ours if NODE_PREFIX + label != KERNEL_LABEL)


def _skipped(node: str, modules: Mapping[str, Any]) -> str:
    reasons = [
        f"{key}: {kernel['reason']}"
        for key, module in sorted(modules.items())
        for kernel in module["kernels"].values()
        if kernel["reason"] and node in kernel["nodes"]
    ]
    return "; ".join(reasons) or "-"


def _print(table: Table, console: Console) -> None:
    console.print(table)
    console.print()
