"""A Module as a Pulumi component. Declares what `kmm.manifests` made and nothing else; decides nothing."""

from dataclasses import dataclass

import pulumi

from kmm.manifests import Manifest, ModuleManifests
from kmm.names import INSTANCE_LABEL


@dataclass(frozen=True)
class NodeState:
    """What has been done on the nodes before a loader comes: labels are on, and what leaves has left."""

    kernel_labels: pulumi.Resource
    departures: pulumi.Resource


class KernelModule(pulumi.ComponentResource):
    """One Module: its ServiceAccounts, a loader per kernel, and its device plugin.

    The plan is plain values, known before the first resource: which resources exist never hangs on an Output.
    `loaders` are by DaemonSet name.
    """

    def __init__(
        self, declared: ModuleManifests, owner: str, nodes: NodeState, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`owner` marks the objects as this stack's."""
        self._key, self._owner = declared.plan.module.key, owner
        super().__init__("kmm:index:KernelModule", self._key, None, opts)
        accounts = [self._declare(manifest) for manifest in declared.service_accounts]
        before = [*accounts, nodes.kernel_labels, nodes.departures]
        loaders = [kernel.loader for kernel in declared.kernels]
        self.loaders = {one["metadata"]["name"]: self._declare(one, *before) for one in loaders}
        # Deletion goes the other way round: the device plugin leaves before the module that it uses.
        after = [*accounts, *self.loaders.values()]
        self.device_plugins = [self._declare(one, *after) for one in declared.device_plugins]
        self.register_outputs({})

    def _declare(self, manifest: Manifest, *after: pulumi.Resource) -> pulumi.Resource:
        metadata = manifest["metadata"]
        owned = metadata | {"labels": metadata["labels"] | {INSTANCE_LABEL: self._owner}}
        return KubernetesObject(
            f"{self._key}/{metadata['name']}",
            manifest | {"metadata": owned},
            pulumi.ResourceOptions(parent=self, depends_on=list(after), delete_before_replace=True),
        )


class KubernetesObject(pulumi.CustomResource):
    """Any object, declared by its wire form: the classes of pulumi_kubernetes respell the fields, and import slowly."""

    def __init__(self, name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> None:
        """Deletion waits until the object is gone: of a DaemonSet, until its last pod has unloaded its module."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        super().__init__(f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}", name, dict(manifest), opts)
