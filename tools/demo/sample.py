"""What the demo deploys: the Modules of `stacks/dev` for the nodes of `stacks/dev-nodes.yaml`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from kmm.images import ImageReference
from kmm.loading import load_modules
from kmm.node_file import load_nodes
from kmm.nodes import Node
from kmm.plan import Images, make_plan
from tools.bootstrap import CHECKOUT
from tools.nodes import SimulatedNode

STACK: Final = "dev"
MODULES: Final = CHECKOUT / "stacks/dev"
NODES: Final = CHECKOUT / "stacks/dev-nodes.yaml"
NAMESPACE: Final = "drivers"
# The node that boots another kernel, which no other node runs: a loader goes and one comes.
MOVING_NODE: Final = "edge-3"
NEXT_KERNEL: Final = "6.12.32+bpo-amd64"
_REGISTRY: Final = "registry.example.com"


def write_modules(folder: Path, registry: str) -> None:
    """Copy the Modules, with the demo's registry (HOST:PORT) in their images."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(MODULES.glob("*.yaml")):
        (folder / file.name).write_text(file.read_text().replace(f"{_REGISTRY}/", f"{registry}/"))


def images(modules: Path) -> Iterator[tuple[str, str]]:
    """Repository and tag of each image that these Modules need, on the kernels of the nodes and the next one."""
    loaded = load_modules([str(modules)]).modules
    nodes = load_nodes(NODES)
    moved = [Node(f"moved-{node.name}", labels=node.labels, kernel_version=NEXT_KERNEL) for node in nodes]
    plan = make_plan(loaded, [*nodes, *moved], Images())
    wanted = {kernel.resolved.image for one in plan.modules for kernel in one.kernels if kernel.resolved}
    wanted |= {module.spec.device_plugin.container.image for module in loaded if module.spec.device_plugin}
    for reference in sorted(map(ImageReference.parse, wanted), key=str):
        yield reference.repository, reference.version


def nodes() -> Iterator[SimulatedNode]:
    """The nodes of the file, for the embedded cluster."""
    for item in yaml.safe_load(NODES.read_text())["items"]:
        spec = item.get("spec", {})
        yield SimulatedNode(
            item["metadata"]["name"],
            item["status"]["nodeInfo"]["kernelVersion"],
            item["metadata"]["labels"],
            taints=tuple(spec.get("taints", ())),
            unschedulable=spec.get("unschedulable", False),
        )


def objects(registry: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the Modules take for granted in the cluster, each with the path of its collection in the API."""
    yield "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}
    login = {"auths": {registry: {"username": "demo", "password": "demo"}}}
    yield (
        f"/api/v1/namespaces/{NAMESPACE}/secrets",
        {
            "metadata": {"name": "registry-login"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(login)},
        },
    )
    dockerfile = (CHECKOUT / "loader-image/Containerfile").read_text()
    yield (
        f"/api/v1/namespaces/{NAMESPACE}/configmaps",
        {"metadata": {"name": "kmm-sample"}, "data": {"dockerfile": dockerfile}},
    )
