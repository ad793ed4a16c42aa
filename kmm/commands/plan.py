"""`python -m kmm plan`: what would be done for each Module and kernel, and why."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kmm.commands.inputs import (
    AssumeImagesOption,
    ContextOption,
    FutureKernelsOption,
    Inputs,
    KubeconfigOption,
    NodesOption,
    ModulesOption,
    SourceOption,
    show_warnings,
)
from kmm.module_source import Source

if TYPE_CHECKING:
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
    output: Annotated[
        PlanFormat,
        typer.Option("--output", "-o", help="json: for scripts, with all nodes; html: one page, for people."),
    ] = PlanFormat.TABLE,
) -> None:
    """Show which Module gets which image on which kernels and nodes, without changing anything.

    Examples:

    \b
    python -m kmm plan --modules stacks/dev
    python -m kmm plan --source cluster
    kubectl get nodes -o json | python -m kmm plan --modules kmod.yaml --nodes - --assume-images present
    python -m kmm plan --modules stacks/prod --future-kernel 6.8.0-71-generic -o html > plan.html
    """
    inputs = Inputs(modules, source, nodes, kubeconfig, context, assume_images, future_kernels)
    decided, _, warnings = inputs.plan()
    if output is PlanFormat.JSON:
        typer.echo(json.dumps(_json(decided), indent=2))
    elif output is PlanFormat.HTML:
        from kmm.commands.plan_html import plan_html  # noqa: PLC0415

        typer.echo(plan_html(decided, warnings), nl=False)
    else:
        from kmm.commands.plan_table import print_plan  # noqa: PLC0415

        print_plan(decided)
    show_warnings(warnings)


def _json(decided: "Plan") -> dict[str, Any]:
    return {
        "modules": [_module(module) for module in decided.modules],
        "ignored": [{"node": ignored.node, "reason": ignored.reason} for ignored in decided.ignored],
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
        "image": kernel.resolved.image if kernel.resolved else None,
        "actions": [action.value for action in kernel.actions],
        "reason": kernel.reason,
    }
