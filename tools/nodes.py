"""Simulated nodes of an embedded cluster."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tools.api import CONNECTIONS, Api, ApiError

_NODES = "/api/v1/nodes"
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
_NOT_READY = "node.kubernetes.io/not-ready"
_CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
_UNTAINTED_WITHIN_SECONDS = 60


@dataclass(frozen=True)
class SimulatedNode:
    """A node that kwok looks after; `padding_bytes` makes it as large as nodes of real clusters are."""

    name: str
    kernel: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    unschedulable: bool = False
    padding_bytes: int = 0

    def manifest(self) -> dict[str, Any]:
        """Return the Kubernetes object."""
        annotations = {"kwok.x-k8s.io/node": "fake"}
        if self.padding_bytes:
            annotations["kmm.tools/padding"] = "x" * self.padding_bytes
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels | dict(self.labels), "annotations": annotations},
            "spec": {"taints": list(self.taints), "unschedulable": self.unschedulable},
            "status": {
                # Ready from the start: kwok would take 10 s per 1,000 nodes.
                "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated"}],
                "nodeInfo": {"kernelVersion": self.kernel, "architecture": "amd64", "operatingSystem": "linux"},
                "capacity": _CAPACITY,
                "allocatable": _CAPACITY,
            },
        }


class Nodes:
    """Adds, changes and removes nodes; ApiError when the API server refuses one."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def add(self, nodes: Iterable[SimulatedNode]) -> None:
        """Add nodes and wait until they are ready and nothing keeps pods off them but their own taints."""
        nodes = list(nodes)
        _concurrently(lambda node: self._api.request("POST", _NODES, node.manifest()), nodes)
        self._wait_until_ready({node.name for node in nodes})

    def patch(self, name: str, patch: Mapping[str, Any]) -> None:
        """Apply a JSON merge patch to a node, for instance `{"metadata": {"labels": {"zone": None}}}`."""
        self._api.request("PATCH", f"{_NODES}/{name}", patch, _MERGE_PATCH)

    def patch_all(self, patches: Mapping[str, Mapping[str, Any]]) -> None:
        """Apply patches to nodes, by name, many at a time."""
        _concurrently(lambda item: self.patch(*item), list(patches.items()))

    def set_kernel(self, name: str, kernel: str) -> None:
        """Let the node report another kernel, as after a reboot into it."""
        status = {"status": {"nodeInfo": {"kernelVersion": kernel}}}
        self._api.request("PATCH", f"{_NODES}/{name}/status", status, _MERGE_PATCH)

    def remove(self, names: Iterable[str]) -> None:
        """Remove nodes; one that is gone already is fine."""
        _concurrently(self._remove, list(names))

    def _remove(self, name: str) -> None:
        try:
            self._api.request("DELETE", f"{_NODES}/{name}")
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _wait_until_ready(self, names: set[str]) -> None:
        deadline = time.monotonic() + _UNTAINTED_WITHIN_SECONDS
        while waiting := names & {node["metadata"]["name"] for node in self._list() if not _is_ready(node)}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} nodes did not become ready, among them {min(waiting)}")
            time.sleep(0.2)

    def _list(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._api.request("GET", f"{_NODES}?resourceVersion=0")["items"]
        return nodes


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
    taints = {taint["key"] for taint in node["spec"].get("taints", [])}
    return conditions.get("Ready") == "True" and _NOT_READY not in taints


def _concurrently(work: Callable[[Any], Any], items: list[Any]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(work, items):
            pass
