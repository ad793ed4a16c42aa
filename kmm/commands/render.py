"""`python -m kmm render`: the objects that `pulumi up` would declare, as YAML."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    Planned,
    SourceOption,
    show_warnings,
)
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.jobs import JobSettings
    from kmm.manifests import JobInputs
    from kmm.plan import Plan


def render(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    modules: ModulesOption = None,
    source: SourceOption = Source.FILES,
    nodes: NodesOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    assume_images: AssumeImagesOption = None,
    future_kernels: FutureKernelsOption = None,
    config_file: ConfigFileOption = None,
    dockerfiles: Annotated[
        list[str] | None,
        typer.Option(
            "--dockerfile",
            metavar="NAMESPACE/NAME=FILE",
            help="With --nodes: the Dockerfile that a ConfigMap holds. Can be given more than once.",
            show_default="the ConfigMaps of the current cluster",
        ),
    ] = None,
) -> None:
    """Print the Kubernetes objects of the plan as multi-document YAML, without changing anything.

    Jobs are among them where images are missing; labels of nodes are not: they are patched into the nodes.
    Nor is the rule of kmm:audit, which has the stack's name.

    Examples:

    \b
    python -m kmm render --modules stacks/dev
    python -m kmm render --modules kmod.yaml --nodes nodes.yaml --assume-images present
    python -m kmm render --config-file stacks/Pulumi.prod.yaml
    """
    from kmm.commands.yaml_text import to_yaml  # noqa: PLC0415
    from kmm.jobs import JobSettings  # noqa: PLC0415
    from kmm.manifests import manifests  # noqa: PLC0415

    if dockerfiles and nodes is None:
        raise typer.BadParameter("--dockerfile is for --nodes; otherwise the cluster's ConfigMaps are read")
    inputs, settings = Inputs(modules, source, nodes, kubeconfig, context, assume_images, future_kernels), JobSettings()
    if config_file:
        inputs, settings = inputs.with_stack(config_file)
    planned = inputs.plan()
    if nodes is None:
        job_inputs = _from_cluster(inputs, planned, settings)
    else:
        job_inputs = _from_files(planned.plan, settings, dockerfiles or ())
    typer.echo(to_yaml(manifests(planned.plan, job_inputs)), nl=False)
    show_warnings(planned.warnings)


def _from_cluster(inputs: Inputs, planned: Planned, settings: "JobSettings") -> "JobInputs":
    from kmm.cluster import connect  # noqa: PLC0415
    from kmm.observation import observe_job_inputs  # noqa: PLC0415

    return observe_job_inputs(settings, planned.plan, connect(inputs.kubeconfig, inputs.context), planned.nodes)


def _from_files(plan: "Plan", settings: "JobSettings", options: Iterable[str]) -> "JobInputs":
    from kmm.errors import PlanError  # noqa: PLC0415
    from kmm.job_inputs import ObjectKind, job_inputs  # noqa: PLC0415
    from kmm.manifests import JobInputs  # noqa: PLC0415

    given = dict(map(_read_dockerfile, options))
    needed = {one.object for one in job_inputs(plan) if one.object.kind is ObjectKind.CONFIG_MAP}
    if missing := sorted(f"{key.namespace}/{key.name}" for key in needed if (key.namespace, key.name) not in given):
        problems = (f"Jobs need the Dockerfile in ConfigMap {key}: add --dockerfile {key}=FILE" for key in missing)
        raise PlanError("\n".join(problems))
    return JobInputs(settings, given)


def _read_dockerfile(option: str) -> tuple[tuple[str, str], str]:
    """Namespace and name of the ConfigMap, and the text."""
    from kmm.errors import SettingsError  # noqa: PLC0415

    config_map, _, path = option.partition("=")
    namespace, _, name = config_map.partition("/")
    if not (namespace and name and path):
        raise typer.BadParameter(f"--dockerfile {option}: write NAMESPACE/NAME=FILE, the ConfigMap and its Dockerfile")
    try:
        return (namespace, name), Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--dockerfile {option} can't be read: {error}") from None
