"""A Module as a Pulumi component. Declares what `kmm.manifests` made and nothing else; decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from kmm.manifests import Manifest, ModuleManifests
from kmm.names import INSTANCE_LABEL


@dataclass(frozen=True)
class JobSupport:
    """What the Jobs of all Modules need: `log` shows the log of one that failed, `uids` are those of live Jobs."""

    log: pulumi.ErrorHook
    uids: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class NodeState:
    """What has been done on the nodes before a loader comes: labels are on, and what leaves has left."""

    kernel_labels: pulumi.Resource
    departures: pulumi.Resource


class KernelModule(pulumi.ComponentResource):
    """One Module: its ServiceAccounts, the Jobs that make images, a loader per kernel, and its device plugin.

    The plan is plain values, known before the first resource: which resources exist never hangs on an Output.
    `loaders` are by DaemonSet name.
    """

    def __init__(
        self,
        declared: ModuleManifests,
        owner: str,
        nodes: NodeState,
        jobs: JobSupport,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`owner` marks the objects as this stack's."""
        self._key, self._owner = declared.plan.module.key, owner
        super().__init__("kmm:index:KernelModule", self._key, None, opts)
        accounts = [self._declare(manifest) for manifest in declared.service_accounts]
        before = [*accounts, nodes.kernel_labels, nodes.departures]
        # A Job holds back the loader of its kernel, and no other.
        image_jobs = {kernel: self._declare_jobs(found, jobs) for kernel, found in declared.image_jobs.items()}
        self.loaders = {
            one.loader["metadata"]["name"]: self._declare(one.loader, *before, *image_jobs.get(one.kernel.version, ()))
            for one in declared.kernels
        }
        # Deletion goes the other way round: the device plugin leaves before the module that it uses.
        # One whose image is still to be made is left out: if that fails, the plugin still serves the other nodes.
        gated = {one.loader["metadata"]["name"] for one in declared.kernels if one.kernel.gated}
        after = [*accounts, *(loader for name, loader in self.loaders.items() if name not in gated)]
        self.device_plugins = [self._declare(one, *after) for one in declared.device_plugins]
        self.register_outputs({})

    def _declare_jobs(self, manifests: Sequence[Manifest], support: JobSupport) -> list[pulumi.Resource]:
        """One after the other. A Job that is there while its image is not runs again: it failed, or its work went."""
        declared: list[pulumi.Resource] = []
        for manifest in manifests:
            metadata = manifest["metadata"]
            options = pulumi.ResourceOptions(
                hooks=pulumi.ResourceHookBinding(on_error=[support.log]),
                replacement_trigger=support.uids.get((metadata["namespace"], metadata["name"]), ""),
            )
            declared.append(self._declare(manifest, *declared, opts=options))
        return declared

    def _declare(
        self, manifest: Manifest, *after: pulumi.Resource, opts: pulumi.ResourceOptions | None = None
    ) -> pulumi.Resource:
        metadata = manifest["metadata"]
        owned = metadata | {"labels": metadata["labels"] | {INSTANCE_LABEL: self._owner}}
        options = pulumi.ResourceOptions(parent=self, depends_on=list(after), delete_before_replace=True)
        return KubernetesObject(
            f"{self._key}/{metadata['name']}",
            manifest | {"metadata": owned},
            pulumi.ResourceOptions.merge(options, opts),
        )


class KubernetesObject(pulumi.CustomResource):
    """Any object, declared by its wire form: the classes of pulumi_kubernetes respell the fields, and import slowly."""

    def __init__(self, name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> None:
        """Deletion waits until the object is gone: of a DaemonSet, until its last pod has unloaded its module."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        super().__init__(f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}", name, dict(manifest), opts)
