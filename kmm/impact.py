"""What `pulumi up` of a plan would do to modules that are loaded now, as far as the cluster alone tells. Pure.

Which objects are a stack's own is in Pulumi's state, which is not read here: a stack that runs any Module of the plan
is taken for the one that the plan is of.
"""

from collections.abc import Sequence

from kmm.changes import Change, loader_changes, relabelled
from kmm.image_rules import keep_digest
from kmm.kept_versions import kept_kernel_labels, kept_versions
from kmm.label_ownership import kernel_label_owner
from kmm.manifests import KernelManifests
from kmm.manifests.loader import loader_manifest
from kmm.names import INSTANCE_LABEL
from kmm.nodes import Node
from kmm.plan import Action, Plan
from kmm.workloads import DaemonSet


def plan_changes(
    plan: Plan, live: Sequence[DaemonSet], nodes: Sequence[Node], *, pins_known: bool = False
) -> tuple[Change, ...]:
    """Where modules would be loaded, unloaded, or both.

    Images that run by digest keep it, unless `pins_known`: the plan says then which go by digest.
    """
    modules = [one.module for one in plan.modules]
    keys = {module.key for module in modules}
    stacks = {one.labels.get(INSTANCE_LABEL, "") for one in live if one.module in keys}
    kept = [one for stack in stacks for one in kept_versions(modules, live, nodes, stack)]
    label_owner = kernel_label_owner(min(stacks)) if len(stacks) == 1 else ""
    after = relabelled(nodes, kept_kernel_labels(kept, nodes) | plan.kernel_labels(), label_owner)
    running = {} if pins_known else {(one.namespace, one.name): one for one in live}
    loaders = [
        KernelManifests(kernel, loader_manifest(keep_digest(kernel.resolved, running)))
        for module in plan.modules
        for kernel in module.kernels
        if kernel.resolved is not None and Action.LOAD in kernel.actions
    ]
    passing = [one for one in live if one not in kept]
    return loader_changes(loaders, passing, nodes, after, lambda one: one.labels.get(INSTANCE_LABEL, "") in stacks)
