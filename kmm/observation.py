"""Everything that is read before anything is declared. Reads that need nothing of each other run side by side."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kmm.audit import Evidence
from kmm.background import start
from kmm.cluster import connect
from kmm.cluster.client import Cluster
from kmm.definition import Module
from kmm.errors import PlanError
from kmm.image_rules import images_to_check
from kmm.job_checks import job_problems
from kmm.job_inputs import JobInput, ObjectKey, ObjectKind, job_inputs, missing_inputs
from kmm.jobs import JobSettings
from kmm.loading import Loaded, load_modules
from kmm.manifests import JobInputs
from kmm.manifests.build import dockerfile_text
from kmm.module_source import Source
from kmm.names import ROLE_MODULE_LOADER
from kmm.nodes import Node
from kmm.plan import Images, Plan, make_plan
from kmm.pull_secrets import check_with_logins
from kmm.settings import ImageCheck, Settings
from kmm.used_nodes import LiveLoaders, live_loaders, pods_needed
from kmm.workloads import DaemonSet

_READS_AT_ONCE = 16
_UNASKED = "`kmm:imageCheck: assume-present` (`assume-missing`) goes on without asking."


@dataclass(frozen=True)
class Observation:
    """What a run goes by.

    `identity` is the cluster's; `missing_namespaces` are Modules' and not there; `job_uids` are by namespace and name;
    `audit` is None unless the settings want one.
    """

    loaded: Loaded
    cluster: Cluster
    identity: str
    missing_namespaces: Collection[str]
    nodes: Sequence[Node]
    daemon_sets: Sequence[DaemonSet]
    job_uids: Mapping[tuple[str, str], str]
    live: LiveLoaders
    audit: Evidence | None


def observe(settings: Settings) -> Observation:
    """Read Module files and the cluster. Raises KmmError when any read fails: never a partial answer."""
    cluster = connect(settings.kubeconfig, settings.context)
    loaded = load_modules(settings.modules, () if settings.source is Source.FILES else cluster.modules())
    identity = start(cluster.identity)
    namespaces = start(_missing_namespaces, cluster, loaded.modules)
    nodes = start(cluster.nodes)
    daemon_sets = start(cluster.daemon_sets)
    jobs = start(cluster.job_uids)
    audit = start(_observe_audit, cluster) if settings.audit else None
    return Observation(
        loaded,
        cluster,
        identity.result(),
        namespaces.result(),
        nodes.result(),
        daemon_sets.result(),
        jobs.result(),
        observe_loaders(cluster, loaded.modules, nodes.result(), daemon_sets.result()),
        audit.result() if audit else None,
    )


def _missing_namespaces(cluster: Cluster, modules: Iterable[Module]) -> list[str]:
    names = sorted({module.metadata.namespace for module in modules})
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        return [name for name, lacks in zip(names, pool.map(cluster.lacks_namespace, names), strict=True) if lacks]


def observe_loaders(
    cluster: Cluster, modules: Sequence[Module], nodes: Sequence[Node], daemon_sets: Sequence[DaemonSet]
) -> LiveLoaders:
    """What runs already. Pods are read only where nothing else tells: there are as many as nodes and Modules."""
    pods = cluster.pods(ROLE_MODULE_LOADER) if pods_needed(modules, nodes) else ()
    return live_loaders(daemon_sets, pods)


def observe_departing(
    cluster: Cluster, coming: Mapping[str, Collection[str]], daemon_sets: Iterable[DaemonSet]
) -> dict[str, str]:
    """Pods of loaders that end where others come: their DaemonSets, by the pods' `namespace/name`.

    `coming` are Modules by node. Those of other Modules count only if their DaemonSet is gone: a renamed Module is
    another one, while the pods of a third one may be held up by anything.
    """
    live = {one.key for one in daemon_sets}
    pods = cluster.pods(ROLE_MODULE_LOADER, nodes=coming) if coming else ()
    return {
        pod.key: pod.owner
        for pod in pods
        if pod.deleting and not pod.ended and (pod.module in coming[pod.node] or pod.owner not in live)
    }


def _observe_audit(cluster: Cluster) -> Evidence:
    return Evidence(cluster.audited_labels(), cluster.pods(ROLE_MODULE_LOADER))


def observe_images(settings: Settings, observed: Observation) -> Images:
    """Ask the registries. Raises RegistryError for anything but a plain yes or no, ClusterError for their logins."""
    if settings.image_check is not ImageCheck.REGISTRY:
        return Images(assume_present=settings.image_check is ImageCheck.ASSUME_PRESENT)
    plan = make_plan(observed.loaded.modules, observed.nodes, Images(), settings.future_kernels, observed.live)
    wanted = list(images_to_check(plan, check_all=settings.require_images or settings.pin_digests))
    return Images(check_with_logins(observed.cluster, wanted, _UNASKED))


def observe_job_inputs(settings: JobSettings, plan: Plan, cluster: Cluster, nodes: Sequence[Node]) -> JobInputs:
    """Read what the Jobs of the plan are made of.

    Raises PlanError with every ConfigMap, Secret and key that is missing, and every Job that no node can take: such a
    Job would wait out its time limit.
    """
    wanted = job_inputs(plan)
    keys = sorted({one.object for one in wanted})
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        data = dict(zip(keys, pool.map(lambda key: _read(cluster, key), keys), strict=True))
    _refuse(wanted, data, job_problems(plan, settings, nodes))
    return JobInputs(
        settings,
        {
            (key.namespace, key.name): text
            for key, found in data.items()
            if key.kind is ObjectKind.CONFIG_MAP and found is not None and (text := dockerfile_text(found)) is not None
        },
    )


def _read(cluster: Cluster, key: ObjectKey) -> Mapping[str, str] | None:
    read = cluster.config_map if key.kind is ObjectKind.CONFIG_MAP else cluster.secret
    return read(key.namespace, key.name)


def _refuse(
    wanted: Iterable[JobInput], data: Mapping[ObjectKey, Mapping[str, str] | None], problems: Iterable[str]
) -> None:
    found = {key: None if fields is None else frozenset(fields) for key, fields in data.items()}
    if everything := [*missing_inputs(wanted, found), *problems]:
        raise PlanError("\n".join(everything))
