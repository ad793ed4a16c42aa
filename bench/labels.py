"""How long labelling nodes takes, and how many requests.

Run it as `python -m bench.labels`; it starts an embedded cluster. Goals: 10 Modules on 10 kernels and 100 nodes are
labelled ready with at most 600 requests and in under 22 s, 1,000 nodes with their kernel in under 10 s.
(The operator as shipped: 4,182 requests and 68 s, 100 s.)
"""

import re
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter

import urllib3
import yaml

from bench.modules import NAMESPACE, module_name, write_modules
from kmm.cluster import connect
from kmm.names import KERNEL_LABEL, ready_label
from kmm.nodes import LabelChange
from tools.bootstrap import ensure
from tools.cluster import Cluster
from tools.nodes import SimulatedNode
from tools.stack import Stack

MODULES, KERNELS, NODES, MANY_NODES = 10, 10, 100, 1000
SELECTOR = {"kmm.bench/node": "loaded"}
# What the program asks of the API server; some lists are the control plane's own.
ASKED = (("APPLY", "nodes"), ("LIST", "nodes"), ("LIST", "daemonsets"), ("LIST", "pods"), ("GET", "namespaces"))


def requests_so_far(cluster: Cluster) -> Counter[tuple[str, str]]:
    """Requests that the API server has counted, by verb and resource."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    pool = urllib3.PoolManager(
        ca_certs=server["certificate-authority"], cert_file=user["client-certificate"], key_file=user["client-key"]
    )
    counts: Counter[tuple[str, str]] = Counter()
    for line in pool.request("GET", f"{server['server']}/metrics").data.decode().splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if not labels["subresource"]:
                counts[labels["verb"], labels["resource"]] += int(float(line.rpartition(" ")[2]))
    return counts


def take_ready_labels_off(cluster: Cluster) -> None:
    labels = {ready_label(NAMESPACE, module_name(number)): None for number in range(MODULES)}
    for number in range(NODES):
        cluster.nodes.patch(f"node-{number}", {"metadata": {"labels": labels}})


def label_ready(cluster: Cluster, stack: Stack) -> None:
    """`pulumi up` where everything runs but the ready labels are missing."""
    start = perf_counter()
    stack.up(timeout=600).expect()
    print(f"first up: {perf_counter() - start:.1f} s until {MODULES * NODES} pods are Ready and their nodes labelled")
    take_ready_labels_off(cluster)
    before, start = requests_so_far(cluster), perf_counter()
    stack.up(timeout=600).expect()
    seconds, asked = perf_counter() - start, requests_so_far(cluster) - before
    total = sum(asked[key] for key in ASKED)
    words = ", ".join(f"{asked[key]} {' '.join(key)}" for key in ASKED)
    print(f"ready labels: {MODULES * NODES} put on by `up` in {seconds:.1f} s with {total} requests ({words})")


def label_kernels(cluster: Cluster) -> None:
    names = [f"many-{number}" for number in range(MANY_NODES)]
    cluster.nodes.add(SimulatedNode(name, "5.14.0") for name in names)
    connected = connect(str(cluster.kubeconfig))
    nodes = [node for node in connected.nodes() if node.name.startswith("many-")]
    start = perf_counter()
    cluster.nodes.patch_all({name: {"metadata": {"labels": {"bare": "patch"}}} for name in names})
    floor, start = perf_counter() - start, perf_counter()
    connected.apply_node_labels([LabelChange(node.name, node.uid, {KERNEL_LABEL: "5.14.0"}) for node in nodes], "bench")
    seconds = perf_counter() - start
    print(f"kernel labels: {len(nodes)} nodes in {seconds:.1f} s, {seconds / floor:.1f} times as many bare patches")


def main() -> None:
    tools = ensure()
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder) / "cluster", tools) as cluster:
        modules = Path(folder) / "modules"
        write_modules(modules, [SELECTOR] * MODULES)
        cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        cluster.nodes.add(
            SimulatedNode(f"node-{number}", f"5.14.{number % KERNELS}", SELECTOR) for number in range(NODES)
        )
        stack = Stack(Path(folder) / "stack", tools)
        stack.config = {"kmm:kubeconfig": str(cluster.kubeconfig), "kmm:modules": [str(modules)]}
        label_ready(cluster, stack)
        label_kernels(cluster)


if __name__ == "__main__":
    main()
