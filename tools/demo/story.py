"""What the demo shows, in order."""

import shutil

from rich.console import Console

from tools.bootstrap import CHECKOUT
from tools.demo.parts import Demo
from tools.demo.report import Difference, Picture, print_modules, print_nodes
from tools.demo.sample import MOVING_NODE, NEXT_KERNEL, nodes


def tell(demo: Demo, console: Console) -> None:
    """Deploy the sample, show what came out, let a node boot another kernel, and deploy again."""
    with console.status("Starting the embedded cluster and the registry"):
        demo.start()
    console.print(
        f"An embedded cluster runs ({len(list(nodes()))} nodes), and a registry at {demo.registry.host}. "
        "API server, controllers, scheduler,\nregistry and Pulumi are real; the nodes are simulated, so no kernel is "
        "touched.\n"
    )
    demo.workplace.engine.run(console, "preview")
    before = _deploy(demo, console)
    print_modules(before, console)
    print_nodes(before, console)
    console.print(f"Now {MOVING_NODE} boots another kernel, {NEXT_KERNEL}.\n", style="bold")
    demo.cluster.nodes.set_kernel(MOVING_NODE, NEXT_KERNEL)
    after = _deploy(demo, console)
    print_modules(after, console, before)
    _explain(Difference.between(before, after), console)
    _say_what_next(demo, console)


def tear_down(demo: Demo, console: Console) -> None:
    """Destroy the stack, end what the demo started, and remove its folder."""
    if demo.cluster.is_ready() and demo.workplace.engine.exists():
        demo.registry.start()
        demo.workplace.engine.run(console, "destroy", "--yes", "--skip-preview")
    demo.registry.stop()
    demo.cluster.stop()
    shutil.rmtree(demo.folder)
    console.print("The demo is gone: stack, cluster, registry and their files.")


def _deploy(demo: Demo, console: Console) -> Picture:
    demo.workplace.engine.run(console, "up", "--yes", "--skip-preview")
    return Picture.take(demo.cluster.api, demo.workplace.engine.outputs())


def _explain(difference: Difference, console: Console) -> None:
    changed = f" Changed: {', '.join(difference.changed)}." if difference.changed else ""
    console.print(
        f"One loader went ({', '.join(difference.went)}),\nfor no node runs its kernel any more; "
        f"one came ({', '.join(difference.came)}).\n"
        f"The other {len(difference.untouched)} DaemonSets were not touched.{changed}\n"
    )


def _say_what_next(demo: Demo, console: Console) -> None:
    run = demo.workplace.runner.relative_to(CHECKOUT)
    modules = demo.workplace.modules.relative_to(CHECKOUT)
    console.print("Try next:", style="bold")
    for command, meaning in (
        (f"{run} kubectl get daemonsets,pods -n drivers -o wide", "look around"),
        (f"{run} kubectl uncordon storage-4 && {run} pulumi up", "give a node back"),
        (f"{run} python -m kmm plan --modules {modules}", "see the plan"),
        ("make demo", "the same again"),
        ("make demo-down", "destroy the stack and end everything"),
    ):
        console.print(f"  {command:<76} [dim]{meaning}[/]")
    console.print(f"\nChange a file in {modules} and run `{run} pulumi preview`. README.md: your own cluster.")
