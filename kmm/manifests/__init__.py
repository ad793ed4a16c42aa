"""The Plan as Kubernetes objects: plain wire-form dictionaries, the very ones that `pulumi up` declares.

A loader's pod template is a function of (Module, kernel, image) only, never of nodes, time or anything else: each
change of a template unloads and loads the module on every node of that kernel. It stays byte-stable over releases
(`tests/golden`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from kmm.manifests.common import Manifest
from kmm.manifests.device_plugin import device_plugin_manifest, device_plugin_service_account
from kmm.manifests.image_jobs import ImageJobs, JobInputs, image_jobs
from kmm.manifests.loader import loader_manifest, loader_service_account
from kmm.plan import Action, KernelPlan, ModulePlan, Plan

__all__ = ["JobInputs", "KernelManifests", "Manifest", "ModuleManifests", "manifests", "module_manifests"]


def manifests(plan: Plan, inputs: JobInputs | None = None) -> Iterator[Manifest]:
    """Every object that `plan` declares, in a stable order; `apiVersion` and `kind` come first in each.

    Without `inputs` there are no Jobs. Raises PlanError for a Job that cannot be made.
    """
    for module in plan.modules:
        yield from module_manifests(module, inputs)


@dataclass(frozen=True)
class KernelManifests:
    """The loader of one Module on one kernel."""

    kernel: KernelPlan
    loader: Manifest


@dataclass(frozen=True)
class ModuleManifests:
    """The objects of one Module; iterating gives all of them, in a stable order."""

    plan: ModulePlan
    service_accounts: tuple[Manifest, ...]
    image_jobs: ImageJobs
    kernels: tuple[KernelManifests, ...]
    device_plugins: tuple[Manifest, ...]

    @property
    def loaders(self) -> tuple[Manifest, ...]:
        """The loaders of all kernels."""
        return tuple(kernel.loader for kernel in self.kernels)

    def __iter__(self) -> Iterator[Manifest]:
        yield from self.service_accounts
        yield from chain.from_iterable(self.image_jobs.values())
        yield from (*self.loaders, *self.device_plugins)


def module_manifests(plan: ModulePlan, inputs: JobInputs | None = None) -> ModuleManifests:
    """The objects of one Module, by what they are for; `inputs` and errors as in `manifests`."""
    accounts = (loader_service_account(plan.module), device_plugin_service_account(plan.module))
    plugin = device_plugin_manifest(plan.module)
    return ModuleManifests(
        plan=plan,
        service_accounts=tuple(account for account in accounts if account is not None),
        image_jobs={} if inputs is None else image_jobs(plan, inputs),
        kernels=tuple(
            KernelManifests(kernel, loader_manifest(kernel.resolved))
            for kernel in plan.kernels
            if kernel.resolved is not None and Action.LOAD in kernel.actions
        ),
        device_plugins=() if plugin is None else (plugin,),
    )
