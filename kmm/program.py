"""What `pulumi preview` and `pulumi up` run: observe, decide, declare."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pulumi
import pulumi_kubernetes

from kmm.audit import disagreements
from kmm.changes import coming_modules, loader_changes, losing_nodes, relabelled
from kmm.cluster import require_identity
from kmm.declaration import (
    Wait,
    former_owner,
    gated_wait,
    main_wait,
    namespace_problems,
    others_left_alone,
    ready_label_manager,
    refuse_strangers,
    unwanted,
    what_leaves,
)
from kmm.errors import PlanError, SettingsError
from kmm.image_rules import image_problems, pin_digests
from kmm.kept_versions import kept_kernel_labels, kept_versions, kept_workload
from kmm.label_ownership import Labels, kernel_label_owner
from kmm.manifests import Manifest, ModuleManifests, module_manifests
from kmm.manifests.audit import audit_rule
from kmm.names import INSTANCE_LABEL
from kmm.observation import Observation, observe, observe_departing, observe_images, observe_job_inputs
from kmm.outputs import stack_outputs
from kmm.plan import Plan, make_plan
from kmm.ready_labels import is_settled
from kmm.resources.cluster_guard import ClusterGuard
from kmm.resources.departures import Departures
from kmm.resources.job_hooks import job_hooks
from kmm.resources.kernel_module import KernelModule, KubernetesObject, Surroundings
from kmm.resources.node_labels import NodeLabels, node_labels_args
from kmm.resources.rollout import Rollout, plain_workloads
from kmm.settings import Settings, read_settings, setting_warnings

_UNDER_ITS_NAME = (
    "this stack goes on as {0}, the name that the objects carry which it takes over. If another stack of that name is "
    "still in use, its next `up` would remove them: see docs/how-to/several-clusters.md"
)
_NOT_TARGETED = (
    "this run would unload modules, move nodes, or wait for pods that still unload theirs, and --target or --exclude "
    "leaves out the step that does so in order. "
    "Nothing was changed. Run it without them, or target **departures too"
)


async def run() -> dict[str, Any]:
    """Declare everything and return the stack's outputs. Raises KmmError before anything is declared.

    A preview compares identities first: it would otherwise say what to make in a wrong cluster. An `up` does so last:
    where the first one failed, the state would have a name already.
    """
    settings = read_settings(pulumi.get_project())
    observed = observe(settings)
    known = await _stack_identity(observed) if pulumi.runtime.is_dry_run() and not _adopts() else None
    plan = _plan(settings, observed)
    inputs = observe_job_inputs(settings.jobs, plan, observed.cluster, observed.nodes)
    modules = [module_manifests(module, inputs) for module in plan.modules]
    declared = _daemon_sets(modules)
    former = _former_owner(observed, plan, declared) if _adopts() else None
    identity, owner = known or await _stack_identity(observed, former)
    _see_to_others(observed, declared, owner, former)
    await _Declaration(settings, observed, identity, owner).declare(plan, modules)
    return stack_outputs(plan)


def _plan(settings: Settings, observed: Observation) -> Plan:
    """The plan, with its warnings told.

    Raises PlanError for namespaces that are not there, and images that the settings require and nobody makes.
    """
    images = observe_images(settings, observed)
    plan = make_plan(observed.loaded.modules, observed.nodes, images, settings.future_kernels, observed.live)
    problems = image_problems(
        plan, images, require_images=settings.require_images, require_future=settings.require_future_kernels
    )
    lacking = namespace_problems(plan, observed.missing_namespaces, observed.loaded.sources, observed.cluster)
    if errors := [*lacking, *problems.errors]:
        raise PlanError("\n".join(errors))
    for warning in (*observed.loaded.warnings, *problems.warnings, *setting_warnings(settings, plan)):
        pulumi.log.warn(str(warning))
    if observed.audit:
        now = datetime.now(UTC)
        for one in disagreements(plan, observed.audit, observed.daemon_sets, observed.nodes, now):
            pulumi.log.warn(str(one))
    return pin_digests(plan, images, observed.daemon_sets) if settings.pin_digests else plan


async def _stack_identity(observed: Observation, former: str | None = None) -> tuple[pulumi.Resource, str]:
    """What keeps the stack's name on its cluster in the state, with the cluster's identity, and that name.

    The name is made up in the first run, unless it goes on as `former`. What the stack declares depends on the keeper:
    a destruction that stops half-way, in front of another cluster for example, must not forget whose the rest is.
    Raises ClusterError when the state is that of another cluster.
    """
    stash = pulumi.Stash(
        "identity",
        input={"cluster": observed.identity, "owner": former or f"kmm-{uuid4().hex[:8]}"},
        opts=pulumi.ResourceOptions(ignore_changes=["input"]),
    )
    kept = await stash.output.future()
    if kept is None:
        raise SettingsError("the first run of a stack takes neither --target nor --exclude: run it without them")
    require_identity(observed.cluster, kept["cluster"])
    return stash, str(kept["owner"])


def _former_owner(observed: Observation, plan: Plan, declared: Sequence[Manifest]) -> str | None:
    labels = plan.kernel_labels()
    return former_owner(declared, observed.daemon_sets, (one for one in observed.nodes if one.name in labels))


def _see_to_others(observed: Observation, declared: Sequence[Manifest], owner: str, former: str | None) -> None:
    """Raises PlanError when objects are another stack's, and tells what is taken over from it."""
    if not _adopts():
        refuse_strangers(declared, observed.daemon_sets, owner)
    elif words := others_left_alone(declared, observed.daemon_sets, owner):
        pulumi.log.warn(words)
    elif owner == former:
        pulumi.log.warn(_UNDER_ITS_NAME.format(former))


def _adopts() -> bool:
    """Whether this run takes over objects that exist already."""
    return os.environ.get("PULUMI_K8S_UPSERT_EXISTING_OBJECTS") == "true"


class _Declaration:
    """The resources of one run."""

    def __init__(self, settings: Settings, observed: Observation, identity: pulumi.Resource, owner: str) -> None:
        self._settings = settings
        self._observed = observed
        self._identity = identity
        self._owner = owner
        self._live = {one.key for one in observed.daemon_sets}
        self._kept = kept_versions(observed.loaded.modules, observed.daemon_sets, observed.nodes, owner)

    async def declare(self, plan: Plan, modules: Sequence[ModuleManifests]) -> None:
        """Everything of the plan, in the order in which it depends on each other."""
        labels = kept_kernel_labels(self._kept, self._observed.nodes) | plan.kernel_labels()
        departures = await self._departures(modules, labels)
        kernel_labels = self._kernel_labels(labels, departures)
        provider = self._provider()
        surroundings = Surroundings(
            self._owner,
            (departures, kernel_labels),
            job_hooks(self._observed.cluster),
            self._observed.job_uids,
        )
        standing, made = self._audit(plan, provider), list[KubernetesObject]()
        for module in modules:
            await asyncio.sleep(0)  # the engine goes on with what is declared, while the rest is made
            kept = [one for one in self._kept if one.module == module.plan.module.key]
            component = KernelModule(module, surroundings, kept, pulumi.ResourceOptions(provider=provider))
            standing += [*component.accounts, *component.device_plugins, *component.kept]
            made += component.jobs
            for kernel in module.kernels:
                loader = component.loaders[kernel.loader["metadata"]["name"]]
                if kernel.kernel.gated:
                    self._rollout(gated_wait(kernel, self._owner), pulumi.ResourceOptions(depends_on=[loader]))
                    made.append(loader)
                else:
                    standing.append(loader)
        workloads = [kept_workload(one, self._kept, self._observed.nodes) for one in self._kept]
        wait = main_wait(modules, workloads, self._owner)
        self._rollout(wait, self._after(kernel_labels, standing), departures)
        self._guard(standing, made)

    def _audit(self, plan: Plan, provider: pulumi.ProviderResource) -> list[KubernetesObject]:
        rule = audit_rule((one.module for one in plan.modules), self._owner) if self._settings.audit else None
        return [KubernetesObject("audit", rule, pulumi.ResourceOptions(provider=provider))] if rule else []

    def _guard(self, standing: Sequence[KubernetesObject], made: Sequence[KubernetesObject]) -> None:
        """What is there already, or at once, is not left without a guard for as long as images are being `made`."""
        new = [one for one in made if one.key not in self._live]
        guards = {"guard": [*standing, *(one for one in made if one not in new)], "guard/images": new}
        for name, objects in guards.items():
            if objects:
                ClusterGuard(name, {"cluster": self._observed.identity}, self._after(self._identity, objects))

    def _after(self, first: pulumi.Resource, objects: Iterable[KubernetesObject]) -> pulumi.ResourceOptions:
        """After all these, whatever becomes of them: the engine leaves out what depends on one that could not be made.

        That is right for one that was there before. Then what an earlier run declared stays, and what it depends on.
        """

        async def recorded() -> list[pulumi.Resource]:
            return [first, *[one for one in objects if one.key in self._live or await one.kind.future() is not None]]

        return pulumi.ResourceOptions(depends_on=asyncio.ensure_future(recorded()))

    def _provider(self) -> pulumi.ProviderResource:
        access = self._observed.cluster.provider_arguments()
        return pulumi_kubernetes.Provider(
            "cluster",
            kubeconfig=access["kubeconfig"],
            context=access["context"],
            cluster_identifier=self._observed.identity,
            # Lists and fields that Kubernetes fills with defaults otherwise stay the former state's.
            enable_patch_force=True if _adopts() else None,
        )

    async def _departures(self, modules: Sequence[ModuleManifests], labels: Mapping[str, Labels]) -> Departures:
        """Raises SettingsError when something leaves and the user leaves out what sees to it."""
        observed, run = self._observed, uuid4().hex
        before, after = observed.nodes, relabelled(observed.nodes, labels, kernel_label_owner(self._owner))
        loaders = [one for module in modules for one in module.kernels]
        passing = [one for one in observed.daemon_sets if one not in self._kept]
        changes = loader_changes(
            loaders, passing, before, after, lambda one: one.labels.get(INSTANCE_LABEL) == self._owner
        )
        for change in changes:
            if change.disturbs:
                pulumi.log.warn(str(change))
        going = unwanted(_daemon_sets(modules), self._kept, observed.daemon_sets, self._owner)
        coming = coming_modules(changes)
        leaving = replace(
            what_leaves(changes, modules, observed.daemon_sets, going, losing_nodes(before, after)),
            departing=observe_departing(observed.cluster, coming, observed.daemon_sets),
        )
        departures = Departures(
            "departures",
            {
                "cluster": observed.identity,
                "manager": ready_label_manager(self._owner),
                "label_owner": kernel_label_owner(self._owner),
                "leaving": asdict(leaving) if leaving else {},
                "run": run,
            },
            pulumi.ResourceOptions(depends_on=[self._identity]),
        )
        if leaving and await departures.run.future() != run:
            raise SettingsError(_NOT_TARGETED)
        return departures

    def _kernel_labels(self, labels: Mapping[str, Labels], departures: pulumi.Resource) -> NodeLabels:
        observed, owner = self._observed, kernel_label_owner(self._owner)
        return NodeLabels(
            "kernel-labels",
            node_labels_args(observed.identity, owner, labels, observed.nodes),
            pulumi.ResourceOptions(depends_on=[departures]),
        )

    def _rollout(self, wait: Wait, opts: pulumi.ResourceOptions, departures: Departures | None = None) -> None:
        """The wait that hears of departures is also the one that goes first when the stack is destroyed.

        The others wait for loaders that change, if they are there, in this very run.
        """
        observed, rollout = self._observed, self._settings.rollout
        workloads, nodes = plain_workloads(wait.workloads)
        Rollout(
            wait.name,
            {
                "cluster": observed.identity,
                "manager": wait.manager,
                "workloads": workloads,
                "nodes": nodes,
                "settled": is_settled(wait.workloads, observed.daemon_sets, observed.nodes, wait.manager),
                "timeout": rollout.timeout.total_seconds() if rollout.wait else 0,
                "max_unready": rollout.max_unready if rollout.wait else "100%",
                "unload_report": departures.report if departures else "",
                "listen_from": departures.listen_from if departures else "",
                "reloads": departures.reloads if departures else [one.key for one in wait.workloads],
                "leads_destruction": departures is not None,
            },
            opts,
        )


def _daemon_sets(modules: Sequence[ModuleManifests]) -> list[Manifest]:
    return [one for module in modules for one in module if one["kind"] == "DaemonSet"]
