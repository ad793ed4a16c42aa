"""How long reading the nodes takes, and how much memory, beside the official client's `list_node()`.

Run it as `python -m bench.nodes`: it starts an embedded cluster with 5,000 nodes of 10 KB each. Each reader runs in a
process of its own, by turns. The floor is the same bytes fetched and thrown away. Goal: 5 times faster than the
client, with a third of its peak memory.
"""

# ruff: noqa: PLC0415 - a reader imports what it needs and nothing else: the memory of imports counts

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from tools.bootstrap import ensure
from tools.cluster import CLUSTER_TOOLS, Cluster

NODES = 5_000
ROUNDS = 3


@dataclass(frozen=True)
class Cost:
    """What one process took for reading, beyond starting and importing; memory of the whole process and the growth."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    grown_mib: float


def node(number: int) -> dict[str, Any]:
    """A node as large and as finely structured as those of clusters with feature discovery."""
    name = f"worker-{number:05}.example.com"
    features = {f"feature.node.kubernetes.io/cpu-cpuid.FEATURE{feature}": "true" for feature in range(35)}
    images = [
        {
            "names": [f"registry.example.com/team/application-{image}@sha256:{number + image:064x}"],
            "sizeBytes": 123456789,
        }
        for image in range(25)
    ]
    conditions = [
        {
            "type": kind,
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "node-role.kubernetes.io/worker": "", **features},
            "annotations": {f"example.com/annotation-{index}": "x" * 60 for index in range(6)},
        },
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": f"example:///{number}"},
        "status": {
            "nodeInfo": {"kernelVersion": f"5.14.0-{number % 30}.el9.x86_64", "machineID": f"{number:032x}"},
            "conditions": conditions,
            "images": images,
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "250"},
        },
    }


def read_ours(kubeconfig: str) -> Callable[[], int]:
    from kmm.cluster import connect

    cluster = connect(kubeconfig)
    return lambda: len(cluster.nodes())


def read_client(kubeconfig: str) -> Callable[[], int]:
    from kubernetes import client, config

    config.load_kube_config(kubeconfig)
    api = client.CoreV1Api()
    return lambda: len(api.list_node().items)


def read_floor(kubeconfig: str) -> Callable[[], int]:
    import urllib3
    import yaml

    config = yaml.safe_load(Path(kubeconfig).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    pool = urllib3.PoolManager(
        ca_certs=cluster["certificate-authority"], cert_file=user["client-certificate"], key_file=user["client-key"]
    )

    def fetch() -> int:
        answer = pool.request("GET", f"{cluster['server']}/api/v1/nodes", preload_content=False)
        for _ in answer.stream(1 << 20):
            pass
        return NODES

    return fetch


READERS = {"kmm": read_ours, "official client": read_client, "bytes alone": read_floor}


def measure(reader: str, kubeconfig: str) -> Cost:
    """Read once, in this process."""
    read = READERS[reader](kubeconfig)
    before, cpu, started = peak_mib(), process_time(), perf_counter()
    assert read() == NODES
    seconds, peak = perf_counter() - started, peak_mib()
    return Cost(seconds, process_time() - cpu, peak, peak - before)


def peak_mib() -> float:
    """The most memory this process ever held; getrusage's figure begins with that of the parent."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def measure_apart(reader: str, kubeconfig: str) -> Cost:
    """Read once, in a new process."""
    command = [sys.executable, "-m", "bench.nodes", reader, kubeconfig]
    return Cost(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def fastest(costs: Iterable[Cost]) -> Cost:
    """What the machine can do when nothing else runs."""
    return min(costs, key=lambda cost: cost.seconds)


def report(costs: dict[str, Cost]) -> None:
    print(f"{'':16} {'seconds':>8} {'CPU s':>7} {'peak MiB':>9} {'grown MiB':>10}")
    for reader, cost in costs.items():
        print(f"{reader:16} {cost.seconds:8.2f} {cost.cpu_seconds:7.2f} {cost.peak_mib:9.0f} {cost.grown_mib:10.0f}")
    ours, client = costs["kmm"], costs["official client"]
    print(
        f"{'client / kmm':16} {client.seconds / ours.seconds:8.1f} {client.cpu_seconds / ours.cpu_seconds:7.1f} "
        f"{client.peak_mib / ours.peak_mib:9.1f} {client.grown_mib / ours.grown_mib:10.1f}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder) / "cluster", ensure(CLUSTER_TOOLS)) as cluster:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: cluster.api.request("POST", "/api/v1/nodes", node(number)), range(NODES)))
        kubeconfig = str(cluster.kubeconfig)
        rounds = [{reader: measure_apart(reader, kubeconfig) for reader in READERS} for _ in range(ROUNDS)]
    report({reader: fastest(costs[reader] for costs in rounds) for reader in READERS})


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(*sys.argv[1:]).__dict__))
    else:
        main()
