"""`python -m kmm render`: the objects that `pulumi up` would declare, as YAML."""

import typer

from kmm.commands.inputs import (
    AssumeImagesOption,
    ContextOption,
    Inputs,
    KubeconfigOption,
    NodesOption,
    OptionalModulesOption,
    SourceOption,
    show_warnings,
)
from kmm.module_source import Source


def render(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    modules: OptionalModulesOption = None,
    source: SourceOption = Source.FILES,
    nodes: NodesOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    assume_images: AssumeImagesOption = None,
) -> None:
    """Print the Kubernetes objects of the plan as multi-document YAML, without changing anything.

    Node labels are not among them: they are patched into the nodes.

    Examples:

      python -m kmm render --modules stacks/dev

      python -m kmm render --modules kmod.yaml --nodes nodes.yaml --assume-images present
    """
    from kmm.commands.yaml_text import to_yaml  # noqa: PLC0415
    from kmm.manifests import manifests  # noqa: PLC0415

    plan, warnings = Inputs(modules, source, nodes, kubeconfig, context, assume_images).plan()
    typer.echo(to_yaml(manifests(plan)), nl=False)
    show_warnings(warnings)
