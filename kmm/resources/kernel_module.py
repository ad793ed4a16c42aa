"""A Module as a Pulumi component. Declares what `kmm.manifests` made and nothing else; decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from kmm.manifests import Manifest, ModuleManifests
from kmm.manifests.common import wire
from kmm.names import INSTANCE_LABEL, ROLE_MODULE_LOADER
from kmm.workloads import DaemonSet


@dataclass(frozen=True)
class Surroundings:
    """What the Modules of a stack have in common.

    `owner` marks the objects as this stack's. `before` has been done on the nodes before a loader comes: labels are
    on, and what leaves has left. `job_hooks` are for every Job, `job_uids` are those of live Jobs.
    """

    owner: str
    before: Sequence[pulumi.Resource]
    job_hooks: pulumi.ResourceHookBinding
    job_uids: Mapping[tuple[str, str], str]


class KernelModule(pulumi.ComponentResource):
    """One Module: its ServiceAccounts, the Jobs that make images, a loader per kernel, and its device plugin.

    Its inputs are the Module as it is written: policies judge them, and a preview with --diff shows what changed.
    The plan is plain values, known before the first resource: which resources exist never hangs on an Output.
    `loaders` are by DaemonSet name.
    """

    def __init__(
        self,
        declared: ModuleManifests,
        surroundings: Surroundings,
        kept: Sequence[DaemonSet] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`kept` DaemonSets of earlier versions stay as they are."""
        self._key, self._surroundings = declared.plan.module.key, surroundings
        super().__init__("kmm:index:KernelModule", self._key, wire(declared.plan.module), opts)
        self.accounts = [self._declare(manifest) for manifest in declared.service_accounts]
        before = [*self.accounts, *surroundings.before]
        # A Job holds back the loader of its kernel, and no other.
        image_jobs = {kernel: self._declare_jobs(found) for kernel, found in declared.image_jobs.items()}
        self.jobs = [one for jobs in image_jobs.values() for one in jobs]
        self.loaders = {
            one.loader["metadata"]["name"]: self._declare(one.loader, *before, *image_jobs.get(one.kernel.version, ()))
            for one in declared.kernels
        }
        # Deletion goes the other way round: the device plugin leaves before the module that it uses.
        # One whose image is still to be made is left out: if that fails, the plugin still serves the other nodes.
        gated = {one.loader["metadata"]["name"] for one in declared.kernels if one.kernel.gated}
        after = [*self.accounts, *(loader for name, loader in self.loaders.items() if name not in gated)]
        self.device_plugins = [self._declare(one, *after) for one in declared.device_plugins]
        self.kept = self._keep(kept, before)
        self.register_outputs({})

    def _keep(self, daemon_sets: Sequence[DaemonSet], before: Sequence[pulumi.Resource]) -> list["KubernetesObject"]:
        """Declare what the state has of them again: only its name is needed for that."""
        loaders: list[KubernetesObject] = []
        declared: list[KubernetesObject] = []
        for one in sorted(daemon_sets, key=lambda one: one.role != ROLE_MODULE_LOADER):
            manifest = {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": one.name, "namespace": one.namespace, "labels": {}},
            }
            as_it_is = pulumi.ResourceOptions(ignore_changes=["metadata", "spec"])
            after = before if one.role == ROLE_MODULE_LOADER else loaders
            resource = self._declare(manifest, *after, opts=as_it_is)
            declared.append(resource)
            loaders += [resource] if one.role == ROLE_MODULE_LOADER else []
        return declared

    def _declare_jobs(self, manifests: Sequence[Manifest]) -> list["KubernetesObject"]:
        """One after the other. A Job that is there while its image is not runs again: it failed, or its work went."""
        declared: list[KubernetesObject] = []
        for manifest in manifests:
            metadata = manifest["metadata"]
            options = pulumi.ResourceOptions(
                hooks=self._surroundings.job_hooks,
                replacement_trigger=self._surroundings.job_uids.get((metadata["namespace"], metadata["name"]), ""),
            )
            declared.append(self._declare(manifest, *declared, opts=options))
        return declared

    def _declare(
        self, manifest: Manifest, *after: pulumi.Resource, opts: pulumi.ResourceOptions | None = None
    ) -> "KubernetesObject":
        metadata = manifest["metadata"]
        owned = metadata | {"labels": metadata["labels"] | {INSTANCE_LABEL: self._surroundings.owner}}
        options = pulumi.ResourceOptions(parent=self, depends_on=list(after), delete_before_replace=True)
        return KubernetesObject(
            f"{self._key}/{metadata['name']}",
            manifest | {"metadata": owned},
            pulumi.ResourceOptions.merge(options, opts),
        )


class KubernetesObject(pulumi.CustomResource):
    """Any object, declared by its wire form: the classes of pulumi_kubernetes respell the fields, and import slowly.

    `key` is its `namespace/name`; `kind` is not known of one that could not be made.
    """

    kind: pulumi.Output[str]

    def __init__(self, name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> None:
        """Deletion waits until the object is gone: of a DaemonSet, until its last pod has unloaded its module."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        super().__init__(f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}", name, dict(manifest), opts)
        self.key = f"{manifest['metadata'].get('namespace', '')}/{manifest['metadata']['name']}"
