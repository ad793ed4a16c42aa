"""What `pulumi preview` and `pulumi up` run: observe, decide, declare."""

from typing import Any
from uuid import uuid4

import pulumi
import pulumi_kubernetes

from kmm.cluster import connect, require_identity
from kmm.cluster.client import Cluster
from kmm.components import KernelModule
from kmm.loading import load_modules
from kmm.manifests.loader import loader_name
from kmm.node_labels import NodeLabels, node_labels_args
from kmm.plan import Action, Images, KernelPlan, Plan, make_plan
from kmm.settings import read_settings


async def run() -> dict[str, Any]:
    """Declare everything and return the stack's outputs. Raises KmmError before anything is declared."""
    settings = read_settings(pulumi.get_project())
    loaded = load_modules(settings.modules)
    for warning in loaded.warnings:
        pulumi.log.warn(str(warning))
    cluster = connect(settings.kubeconfig, settings.context)
    nodes = cluster.nodes()
    plan = make_plan(loaded.modules, nodes, Images())
    stack = await _stack_identity(cluster)
    labels = NodeLabels(
        "kernel-labels", node_labels_args(stack["cluster"], f"{stack['owner']}.kernel", plan.kernel_labels(), nodes)
    )
    access = cluster.provider_arguments()
    provider = pulumi_kubernetes.Provider(
        "cluster",
        kubeconfig=access["kubeconfig"],
        context=access["context"],
        cluster_identifier=stack["cluster"],
    )
    for module in plan.modules:
        KernelModule(module, labels, pulumi.ResourceOptions(provider=provider))
    return {"modules": _outputs(plan)}


async def _stack_identity(cluster: Cluster) -> dict[str, str]:
    """The `cluster` that the stack belongs to and the stack's own name on it (`owner`), both kept since its first run.

    Raises ClusterError when the state is that of another cluster.
    """
    identity = cluster.identity()
    stash = pulumi.Stash(
        "identity",
        input={"cluster": identity, "owner": f"kmm-{uuid4().hex[:8]}"},
        opts=pulumi.ResourceOptions(ignore_changes=["input"]),
    )
    kept = await stash.output.future() or {}
    require_identity(cluster, kept["cluster"])
    return kept


def _outputs(plan: Plan) -> dict[str, Any]:
    return {
        module.module.key: {kernel.version: _kernel_output(kernel) for kernel in module.kernels}
        for module in plan.modules
    }


def _kernel_output(kernel: KernelPlan) -> dict[str, Any]:
    return {
        "nodes": list(kernel.nodes),
        "image": kernel.resolved.image if kernel.resolved else None,
        "daemonSet": loader_name(kernel.resolved) if kernel.resolved and Action.LOAD in kernel.actions else None,
        "reason": kernel.reason,
    }
