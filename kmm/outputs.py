"""The stack's outputs: plain values that a script can use. Pure."""

from itertools import groupby
from typing import Any

from kmm.manifests.device_plugin import device_plugin_name
from kmm.manifests.loader import loader_name
from kmm.plan import Action, KernelPlan, ModulePlan, Plan


def stack_outputs(plan: Plan) -> dict[str, Any]:
    """`{"modules": {"NAMESPACE/NAME": {"kernels": {VERSION: …}, "devicePlugin": …}}, "ignored": {NODE: [REASON]}}`.

    A kernel has `nodes`, `image`, `daemonSet` (its loader's name, or null), `actions`, and the `reason` of a skip.
    """
    return {
        "modules": {module.module.key: _module(module) for module in plan.modules},
        "ignored": {
            name: [one.reason for one in reasons] for name, reasons in groupby(plan.ignored, lambda one: one.node)
        },
    }


def _module(plan: ModulePlan) -> dict[str, Any]:
    return {
        "kernels": {kernel.version: _kernel(kernel) for kernel in plan.kernels},
        "devicePlugin": device_plugin_name(plan.module) if plan.module.spec.device_plugin else None,
    }


def _kernel(kernel: KernelPlan) -> dict[str, Any]:
    loads = kernel.resolved is not None and Action.LOAD in kernel.actions
    return {
        "nodes": list(kernel.nodes),
        "image": kernel.resolved.deployed_image if kernel.resolved else None,
        "daemonSet": loader_name(kernel.resolved) if kernel.resolved and loads else None,
        "actions": [str(action) for action in kernel.actions],
        "reason": kernel.reason,
    }
