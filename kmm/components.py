"""The Plan as Pulumi resources. Declares what `kmm.manifests` made and nothing else; decides nothing."""

import pulumi

from kmm.manifests import Manifest, module_manifests
from kmm.plan import ModulePlan


class KernelModule(pulumi.ComponentResource):
    """One Module: its ServiceAccounts, a loader per kernel, and its device plugin.

    The plan is plain values, known before the first resource: which resources exist never hangs on an Output.
    """

    def __init__(self, plan: ModulePlan, labels: pulumi.Resource, opts: pulumi.ResourceOptions | None = None) -> None:
        """`labels` are the kernel labels of the nodes, which keep the loaders' pods there: they go after the loaders."""
        super().__init__("kmm:index:KernelModule", plan.module.key, None, opts)
        self._key = plan.module.key
        declared = module_manifests(plan)
        accounts = [self._declare(manifest) for manifest in declared.service_accounts]
        loaders = [self._declare(manifest, *accounts, labels) for manifest in declared.loaders]
        for manifest in declared.device_plugins:
            self._declare(manifest, *accounts, *loaders)
        self.register_outputs({})

    def _declare(self, manifest: Manifest, *after: pulumi.Resource) -> pulumi.Resource:
        """Deletion goes the other way round than `after`, and waits until the object is gone."""
        return KubernetesObject(
            f"{self._key}/{manifest['metadata']['name']}",
            manifest,
            pulumi.ResourceOptions(parent=self, depends_on=list(after), delete_before_replace=True),
        )


class KubernetesObject(pulumi.CustomResource):
    """Any object, declared by its wire form: the classes of pulumi_kubernetes respell the fields, and import slowly."""

    def __init__(self, name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> None:
        group, _, version = manifest["apiVersion"].rpartition("/")
        super().__init__(f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}", name, dict(manifest), opts)
