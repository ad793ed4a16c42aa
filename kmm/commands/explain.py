"""`python -m kmm explain`: why nodes have, or have not, a Module. Reads only."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmm.background import start
from kmm.commands.inputs import (
    UNASKED,
    AssumeImagesOption,
    Assumption,
    ContextOption,
    KubeconfigOption,
    ModulesOption,
    SourceOption,
    read_modules,
    show_warnings,
)
from kmm.commands.plan import OutputFormat
from kmm.errors import ClusterError, RegistryError, SettingsError
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster
    from kmm.definition import Module
    from kmm.explanation import Evidence, Explanation
    from kmm.mapping import ResolvedKernel
    from kmm.nodes import Node

_SHOWN: Final = 20  # names listed in one message


def explain(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    module: Annotated[str, typer.Argument(metavar="MODULE", help="NAME or NAMESPACE/NAME.", show_default=False)],
    modules: ModulesOption = None,
    source: SourceOption = Source.FILES,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NODE", help="Explain this node step by step.", show_default="all")
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    assume_images: AssumeImagesOption = None,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="json: for scripts, every step of every node.")
    ] = OutputFormat.TABLE,
) -> None:
    """Explain why a node has, or has not, a Module: selector, taints, kernel, mapping by mapping, image, pod, labels.

    Without --node the nodes are listed by the first thing that keeps the Module off them.

    Examples:

    \b
    python -m kmm explain my-kmod --modules stacks/dev
    python -m kmm explain drivers/my-kmod --modules stacks/dev --node worker-17
    """
    from kmm.cluster import connect  # noqa: PLC0415
    from kmm.explanation import explain as explain_nodes  # noqa: PLC0415

    loaded = read_modules(modules, source, kubeconfig, context)
    chosen = _chosen_module(module, loaded.modules)
    evidence = _evidence(chosen, connect(kubeconfig, context), node, assume_images)
    explanations = [one for one in explain_nodes(chosen, evidence) if node in (None, one.node)]
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(_json(explanations), indent=2))
    else:
        from kmm.commands.explain_table import print_nodes, print_steps  # noqa: PLC0415

        if node is None:
            print_nodes(explanations)
        else:
            print_steps(explanations[0])
    show_warnings(loaded.warnings)


def _chosen_module(wanted: str, modules: "Iterable[Module]") -> "Module":
    by_key = {module.key: module for module in modules}
    matches = [key for key in by_key if wanted in (key, key.partition("/")[2])]
    if len(matches) > 1:
        raise SettingsError(f"Module {wanted} is in several namespaces: {', '.join(matches)}. Say which one")
    if not matches:
        names = [*by_key, *(key.partition("/")[2] for key in by_key)]
        raise SettingsError(f"there is no Module {wanted}{_suggestion(wanted, names, list(by_key))}")
    return by_key[matches[0]]


def _suggestion(wanted: str, names: Iterable[str], known: Sequence[str]) -> str:
    """What was probably meant, else what there is."""
    if near := get_close_matches(wanted, names, n=3):
        return f"; did you mean {' or '.join(near)}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"; there are: {', '.join(known[:_SHOWN]) or 'none'}{more}"


def _evidence(module: "Module", cluster: "Cluster", name: str | None, assumed: Assumption | None) -> "Evidence":
    from kmm.explanation import Evidence, needed_kernels  # noqa: PLC0415
    from kmm.names import ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER  # noqa: PLC0415

    nodes_read, daemon_sets_read = start(cluster.nodes), start(cluster.daemon_sets)
    pods_read = start(cluster.pods, ROLE_MODULE_LOADER, ROLE_DEVICE_PLUGIN, modules={module.key})
    evidence = Evidence(nodes_read.result(), daemon_sets_read.result(), pods_read.result())
    if assumed is not None:
        return replace(evidence, unasked=f"assumed to be {assumed}")
    kernels = needed_kernels(module, evidence.nodes, _chosen_node(name, evidence.nodes))
    return _with_images(evidence, kernels, cluster)


def _chosen_node(wanted: str | None, nodes: "Sequence[Node]") -> "Node | None":
    found = next((node for node in nodes if node.name == wanted), None)
    if wanted is not None and found is None:
        names = [node.name for node in nodes]
        raise SettingsError(f"no node {wanted} in the cluster{_suggestion(wanted, names, names)}")
    return found


def _with_images(evidence: "Evidence", kernels: "Sequence[ResolvedKernel]", cluster: "Cluster") -> "Evidence":
    """A registry that fails ends no explanation."""
    from kmm.pull_secrets import check_with_logins  # noqa: PLC0415

    try:
        images = check_with_logins(cluster, [(kernel, kernel.image) for kernel in kernels], UNASKED)
    except (RegistryError, ClusterError) as error:
        return replace(evidence, unasked=str(error))
    return replace(evidence, images=images)


def _json(explanations: "Iterable[Explanation]") -> list[dict[str, Any]]:
    return [asdict(one) | {"reason": one.reason or None} for one in explanations]
