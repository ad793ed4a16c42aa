"""`python -m kmm plan`: what would be done for each Module and kernel, and why."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kmm.commands.inputs import (
    AssumeImagesOption,
    ConfigFileOption,
    ContextOption,
    FutureKernelsOption,
    Inputs,
    KubeconfigOption,
    ModulesOption,
    NodesOption,
    SourceOption,
    show_warnings,
)
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.changes import Change
    from kmm.commands.inputs import Planned
    from kmm.plan import KernelPlan, ModulePlan, Plan


class OutputFormat(StrEnum):
    """How the plan is printed."""

    TABLE = "table"
    JSON = "json"


class PlanFormat(StrEnum):
    """How `plan` prints it; the first two are OutputFormat's."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


def plan(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    modules: ModulesOption = None,
    source: SourceOption = Source.FILES,
    nodes: NodesOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    assume_images: AssumeImagesOption = None,
    future_kernels: FutureKernelsOption = None,
    config_file: ConfigFileOption = None,
    output: Annotated[
        PlanFormat,
        typer.Option("--output", "-o", help="json: for scripts, with all nodes; html: one page, for people."),
    ] = PlanFormat.TABLE,
) -> None:
    """Show which Module gets which image on which kernels and nodes, without changing anything.

    When a cluster is read, also where `pulumi up` would load, unload or reload a module.

    Examples:

    \b
    python -m kmm plan --modules stacks/dev
    python -m kmm plan --source cluster
    python -m kmm plan --config-file stacks/Pulumi.prod.yaml
    kubectl get nodes -o json | python -m kmm plan --modules kmod.yaml --nodes - --assume-images present
    python -m kmm plan --modules stacks/prod --future-kernel 6.8.0-71-generic -o html > plan.html
    """
    inputs = Inputs(modules, source, nodes, kubeconfig, context, assume_images, future_kernels)
    if config_file:
        inputs, _ = inputs.with_stack(config_file)
    planned = inputs.plan()
    decided, warnings, changes = planned.plan, planned.warnings, _changes(planned, pins_known=bool(config_file))
    if output is PlanFormat.JSON:
        typer.echo(json.dumps(_json(decided, changes), indent=2))
    elif output is PlanFormat.HTML:
        from kmm.commands.plan_html import plan_html  # noqa: PLC0415

        typer.echo(plan_html(decided, warnings, changes), nl=False)
    else:
        from kmm.commands.plan_table import print_plan  # noqa: PLC0415

        print_plan(decided, changes)
    show_warnings(warnings)


def _changes(planned: "Planned", *, pins_known: bool) -> "tuple[Change, ...] | None":
    """What it would do to the modules that are loaded now; None without a cluster."""
    from kmm.impact import plan_changes  # noqa: PLC0415

    running = planned.daemon_sets
    return None if running is None else plan_changes(planned.plan, running, planned.nodes, pins_known=pins_known)


def _json(decided: "Plan", changes: "Iterable[Change] | None") -> dict[str, Any]:
    return {
        "modules": [_module(module) for module in decided.modules],
        "ignored": [{"node": ignored.node, "reason": ignored.reason} for ignored in decided.ignored],
        **({} if changes is None else {"changes": [_change(change) for change in changes]}),
    }


def _change(change: "Change") -> dict[str, Any]:
    from kmm.commands.change_words import unloads  # noqa: PLC0415

    namespace, _, name = change.module.partition("/")
    return {
        "namespace": namespace,
        "name": name,
        "kernel": change.kernel,
        "kind": change.kind.value,
        "unloads": unloads(change),
        "daemonSet": change.daemon_set,
        "nodes": list(change.nodes),
    }


def _module(module: "ModulePlan") -> dict[str, Any]:
    metadata = module.module.metadata
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "kernels": [_kernel(kernel) for kernel in module.kernels],
        **({"future": [_kernel(kernel) for kernel in module.future]} if module.future else {}),
    }


def _kernel(kernel: "KernelPlan") -> dict[str, Any]:
    return {
        "version": kernel.version,
        "nodes": list(kernel.nodes),
        "mapping": kernel.resolved.mapping if kernel.resolved else None,
        "image": kernel.resolved.deployed_image if kernel.resolved else None,
        "actions": [action.value for action in kernel.actions],
        "reason": kernel.reason,
    }
