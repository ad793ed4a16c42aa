"""How long planning takes beside a bare grouping of the same nodes by kernel, once for each Module.

Run it as `python -m bench.plan`. Goal: 50 Modules, 5,000 nodes and 30 kernels in under 1 s.
"""

from collections import defaultdict
from collections.abc import Callable
from time import perf_counter

from kmm.definition import Module
from kmm.names import API_VERSION, MODULE_KIND
from kmm.nodes import Node, Taint
from kmm.plan import Images, make_plan

MODULES, NODES, KERNELS = 50, 5_000, 30
ROUNDS = 5
WORKER = {"node-role.kubernetes.io/worker": ""}


def module(number: int) -> Module:
    mappings = [
        {"literal": "6.0.15-300.fc37.x86_64"},
        {"regexp": r"^5\.10\."},
        {"regexp": r"^5\..+\.el9\.x86_64$"},
        {"regexp": "^.+$"},
    ]
    container = {
        "containerImage": "registry.example/kmod:${KERNEL_FULL_VERSION}",
        "modprobe": {"moduleName": f"kmod_{number}"},
        "kernelMappings": mappings,
    }
    return Module.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": MODULE_KIND,
            "metadata": {"name": f"kmod-{number}"},
            "spec": {"moduleLoader": {"container": container}, "selector": WORKER},
        }
    )


def node(number: int) -> Node:
    hardware = {f"feature.node.kubernetes.io/cpu-{feature}": "true" for feature in range(20)}
    return Node(
        name=f"node-{number:04}",
        labels=WORKER | hardware,
        taints=(Taint("dedicated", "infra"),) if number % 10 == 0 else (),
        kernel_version=f"5.14.0-{number % KERNELS}.el9.x86_64",
    )


def fastest(task: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds: what the machine can do when nothing else runs."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        task()
        seconds.append(perf_counter() - start)
    return min(seconds)


def group_nodes(modules: list[Module], nodes: list[Node]) -> list[dict[str, list[str]]]:
    """The floor: what no planner can leave out."""
    groups = []
    for one in modules:
        by_kernel = defaultdict(list)
        for each in nodes:
            if one.spec.selector.items() <= each.labels.items():
                by_kernel[each.kernel_version].append(each.name)
        groups.append(by_kernel)
    return groups


def main() -> None:
    modules = [module(number) for number in range(MODULES)]
    nodes = [node(number) for number in range(NODES)]
    floor = fastest(lambda: group_nodes(modules, nodes))
    planned = fastest(lambda: make_plan(modules, nodes, Images()))
    print(f"{MODULES} Modules x {NODES} nodes x {KERNELS} kernels")
    print(f"bare grouping  {floor:6.3f} s")
    print(f"make_plan      {planned:6.3f} s  {planned / floor:.1f} times the floor")


if __name__ == "__main__":
    main()
