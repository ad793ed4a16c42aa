"""How long the program takes beside a plain Pulumi program that declares the same objects (`bench/plain`).

Run it as `python -m bench.up`; it starts an embedded cluster. Goal: at most 1.2 times the plain program.
The plain program knows nothing of nodes: the bench labels them for it, and tells how long that took beside its times.
It does not wait until its pods are Ready either, so ours is also timed without waiting (`kmm:rollout.wait`). Between
two steps the bench waits for them: the second `up` then labels their nodes, and after it nothing is left to do.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from bench.modules import NAMESPACE, write_modules
from kmm.cluster import connect
from kmm.loading import load_modules
from kmm.manifests import manifests
from kmm.names import KERNEL_LABEL, label_value
from kmm.plan import Images, make_plan
from tools.bootstrap import CHECKOUT, Toolset, ensure
from tools.cluster import Cluster
from tools.nodes import SimulatedNode
from tools.stack import Result, Stack

SELECTOR = "kmm.bench/module"
STEPS = ("first up", "second up", "preview", "up", "one node moves, up", "destroy")
MINUTES = 60

Times = dict[str, float]


def kernel(number: int) -> str:
    return f"5.14.0-{number}.el9.x86_64"


def write_manifests(cluster: Cluster, modules: Path, path: Path) -> None:
    """What kmm declares for the cluster as it is now."""
    nodes = connect(str(cluster.kubeconfig)).nodes()
    plan = make_plan(load_modules([str(modules)]).modules, nodes, Images())
    path.write_text(json.dumps(list(manifests(plan))))


def kernel_label(version: str) -> dict[str, Any]:
    """The patch that labels a node as the plain program needs it."""
    return {"metadata": {"labels": {KERNEL_LABEL: label_value(version)}}}


def move(cluster: Cluster, node: str, version: str) -> None:
    """Let a node run another kernel, and label it."""
    cluster.nodes.set_kernel(node, version)
    cluster.nodes.patch(node, kernel_label(version))


def wait_for_pods(cluster: Cluster) -> None:
    """Return when every pod is Ready that shall be: their coming would slow the next step down."""
    deadline = perf_counter() + 10 * MINUTES
    while any(
        one["status"].get("observedGeneration") != one["metadata"]["generation"]
        or one["status"]["numberReady"] != one["status"]["desiredNumberScheduled"]
        for one in cluster.api.request("GET", "/apis/apps/v1/daemonsets")["items"]
    ):
        assert perf_counter() < deadline, "pods do not get Ready"
        sleep(1)


def measure(stack: Stack, before: Callable[[str], None], *, skip_checkpoints: bool) -> Times:
    """Seconds of each of STEPS; `before` prepares one."""
    if skip_checkpoints:
        stack.environment["PULUMI_SKIP_CHECKPOINTS"] = "true"
    runs: dict[str, Callable[..., Result]] = {"preview": stack.preview, "destroy": stack.destroy}
    times = {}
    for step in STEPS:
        before(step)
        start = perf_counter()
        runs.get(step, stack.up)(timeout=20 * MINUTES).expect()
        times[step] = perf_counter() - start
    return times


def compare(cluster: Cluster, tools: Toolset, folder: Path, modules: Path, *, skip_checkpoints: bool) -> None:
    plan_file, moving = folder / "manifests.json", "node-0"
    title = "state saved once" if skip_checkpoints else "state saved at each step"

    def before(step: str) -> None:
        wait_for_pods(cluster)
        if step in ("first up", "one node moves, up"):
            move(cluster, moving, kernel(0 if step == "first up" else 999))
            write_manifests(cluster, modules, plan_file)

    plain = Stack(folder / f"plain-{skip_checkpoints}", tools, CHECKOUT / "bench/plain")
    plain.config = {"plain:kubeconfig": str(cluster.kubeconfig), "plain:manifests": str(plan_file)}
    floor = measure(plain, before, skip_checkpoints=skip_checkpoints)
    columns = []
    for wait in (False, True):
        ours = Stack(folder / f"kmm-{skip_checkpoints}-{wait}", tools)
        ours.config = {
            "kmm:kubeconfig": str(cluster.kubeconfig),
            "kmm:modules": [str(modules)],
            "kmm:rollout": {"wait": wait},
        }
        columns.append(measure(ours, before, skip_checkpoints=skip_checkpoints))
    print(f"\n{title:28}{'plain':>10}{'kmm':>10}{'ratio':>8}{'and waits':>12}{'ratio':>8}")
    for step in STEPS:
        same, waiting = (times[step] for times in columns)
        print(
            f"{step:28}{floor[step]:8.1f} s{same:8.1f} s{same / floor[step]:8.2f}"
            f"{waiting:10.1f} s{waiting / floor[step]:8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.up", description=__doc__.splitlines()[0])
    parser.add_argument("--modules", type=int, default=20)
    parser.add_argument("--kernels", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=1000)
    size = parser.parse_args()
    tools = ensure()
    with tempfile.TemporaryDirectory() as name, Cluster(Path(name) / "cluster", tools) as cluster:
        folder, modules = Path(name), Path(name) / "modules"
        # Every Module has its own nodes, so that there are no more pods than nodes.
        write_modules(modules, [{SELECTOR: str(number)} for number in range(size.modules)])
        cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        versions = [kernel(number // size.modules % size.kernels) for number in range(size.nodes)]
        cluster.nodes.add(
            SimulatedNode(f"node-{number}", version, {SELECTOR: str(number % size.modules)})
            for number, version in enumerate(versions)
        )
        start = perf_counter()
        cluster.nodes.patch_all({f"node-{number}": kernel_label(version) for number, version in enumerate(versions)})
        print(f"{size.modules} Modules, {size.kernels} kernels, {size.nodes} nodes")
        print(f"nodes labelled for the plain program, not in its times: {perf_counter() - start:.1f} s")
        for skip_checkpoints in (False, True):
            compare(cluster, tools, folder, modules, skip_checkpoints=skip_checkpoints)


if __name__ == "__main__":
    main()
