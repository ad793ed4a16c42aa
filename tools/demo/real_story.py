"""What the demo on real nodes shows, in order; after each step it asks the kernel of the virtual machine."""

from typing import Final

from rich.console import Console

from tools.bootstrap import CHECKOUT
from tools.demo.real_parts import prepare
from tools.demo.workplace import Workplace
from tools.real.guest_agent import GuestAgent
from tools.real.kubelet import KUBELET_NODE
from tools.real.site import AGENT, Site
from tools.real.virtual_machine import VIRTUAL_MACHINE, VirtualMachine

_UP: Final = ("up", "--yes", "--skip-preview")
_FILE: Final = "$(find /run/containerd/ -path '*/opt/lib/modules/*/kmm_sample.ko' | head -n 1)"
_LISTED: Final = "lsmod | grep kmm_sample || echo no kmm_sample here"
_LOG: Final = "dmesg | grep '] kmm_sample:'"
_GREETING, _NEXT_GREETING = "greeting=hello", "greeting=good evening"


def tell(site: Site, machine: VirtualMachine, place: Workplace, console: Console) -> None:
    """Build, sign and load the sample, change its parameter, and let the machine boot another kernel."""
    kernel, next_kernel = machine.kernels
    prepare(place)
    console.print(
        f"Two real nodes have joined an embedded control plane: {KUBELET_NODE}, a kubelet on this machine, which "
        f"builds, and\n{VIRTUAL_MACHINE}, with Debian's kernel {kernel}. That kernel has none of our modules:\n"
    )
    _ask(machine.agent, console, _LISTED)
    _heading(
        console, "One `up`: a Job compiles the modules for that kernel, another signs them, a DaemonSet loads them."
    )
    place.engine.run(console, *_UP)
    _ask(
        machine.agent,
        console,
        _LISTED,
        "cat /dev/kmm_sample; echo",
        f"modinfo -F signer {_FILE}",
        _LOG,
    )
    _heading(console, f"The Module's parameter becomes `{_NEXT_GREETING}`: the module is unloaded, then loaded, once.")
    _change_greeting(place)
    place.engine.run(console, *_UP)
    _ask(machine.agent, console, "cat /dev/kmm_sample; echo", f"{_LOG} | tail -n 3")
    _heading(console, f"{VIRTUAL_MACHINE} boots another kernel, {next_kernel}: nothing there is loaded.")
    with console.status("It takes a minute"):
        site.boot(machine, next_kernel)
    _ask(machine.agent, console, "uname -r", _LISTED)
    _heading(console, "The next `up` sees that, builds and signs for it, and drops the loader of the old kernel.")
    place.engine.run(console, *_UP)
    _ask(machine.agent, console, _LISTED, _LOG)
    _say_what_next(place, console)


def tear_down(place: Workplace, console: Console) -> None:
    """Destroy the stack, which unloads the modules, and let the kernel say so; without that kernel there is no need."""
    agent = GuestAgent(AGENT)
    if not (place.cluster.is_ready() and place.engine.exists() and agent.is_up()):
        return
    place.engine.cancel()
    place.engine.run(console, "destroy", "--yes", "--skip-preview")
    _ask(agent, console, _LISTED, f"{_LOG} | tail -n 1")


def _ask(agent: GuestAgent, console: Console, *commands: str) -> None:
    """Show commands in the virtual machine with their output."""
    for command in commands:
        console.print(f"{VIRTUAL_MACHINE}# {command}", style="bold")
        console.print(agent.run("sh", "-c", command).stdout.rstrip() or "(nothing)", style="cyan", markup=False)
    console.print()


def _heading(console: Console, text: str) -> None:
    console.print(f"* {text}\n", style="bold magenta")


def _change_greeting(place: Workplace) -> None:
    file = place.modules / "kmm-sample.yaml"
    file.write_text(file.read_text().replace(_GREETING, _NEXT_GREETING))


def _say_what_next(place: Workplace, console: Console) -> None:
    run = f"sudo {place.runner.relative_to(CHECKOUT)}"
    modules = place.modules.relative_to(CHECKOUT)
    console.print("Try next:", style="bold")
    for command, meaning in (
        (f"{run} kubectl get pods -A -o wide", "look around"),
        (f"{run} kubectl exec -n drivers daemonset/NAME -- lsmod", "ask the kernel yourself"),
        (f"{run} python -m kmm explain kmm-sample --modules {modules}", "why the module is where it is"),
        (f"sudoedit {modules}/kmm-sample.yaml && {run} pulumi up", "change it"),
        ("sudo make demo-down", "destroy the stack, unload the modules, end everything"),
    ):
        console.print(f"  {command:<84} [dim]{meaning}[/]")
