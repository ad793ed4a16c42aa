"""The Plan as Kubernetes objects: plain wire-form dictionaries, the very ones that `pulumi up` declares.

A pod template is a function of (Module, kernel, image) only, never of nodes, time or anything else: each change
of a template unloads and loads the module on every node of that kernel. It stays byte-stable over releases
(`tests/golden`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kmm.manifests.common import Manifest
from kmm.manifests.device_plugin import device_plugin_manifest, device_plugin_service_account
from kmm.manifests.loader import loader_manifest, loader_service_account
from kmm.plan import Action, ModulePlan, Plan

__all__ = ["Manifest", "ModuleManifests", "manifests", "module_manifests"]


def manifests(plan: Plan) -> Iterator[Manifest]:
    """Every object that `plan` declares, in a stable order; `apiVersion` and `kind` come first in each."""
    for module in plan.modules:
        declared = module_manifests(module)
        yield from (*declared.service_accounts, *declared.loaders, *declared.device_plugins)


@dataclass(frozen=True)
class ModuleManifests:
    """The objects of one Module."""

    service_accounts: tuple[Manifest, ...]
    loaders: tuple[Manifest, ...]
    device_plugins: tuple[Manifest, ...]


def module_manifests(plan: ModulePlan) -> ModuleManifests:
    """The objects of one Module, by what they are for."""
    accounts = (loader_service_account(plan.module), device_plugin_service_account(plan.module))
    plugin = device_plugin_manifest(plan.module)
    return ModuleManifests(
        service_accounts=tuple(account for account in accounts if account is not None),
        loaders=tuple(
            loader_manifest(kernel.resolved)
            for kernel in plan.kernels
            if kernel.resolved is not None and Action.LOAD in kernel.actions
        ),
        device_plugins=() if plugin is None else (plugin,),
    )
