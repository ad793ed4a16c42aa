"""What this project asks of a cluster: its identity, its nodes, and labels on them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from kmm.cluster.answers import DataObject, Labelled, ListVersion, Namespace, parse_modules, parse_rules
from kmm.cluster.connection import CONNECTIONS, ApiStatusError, Connection
from kmm.cluster.kubeconfig import Access
from kmm.cluster.lists import read_list
from kmm.errors import ClusterError
from kmm.names import (
    API_GROUP,
    API_VERSION,
    INSTANCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODULE_NAME_LABEL,
    NFD_API_VERSION,
    ROLE_LABEL,
)
from kmm.node_list import parse_page, sorted_nodes
from kmm.nodes import LabelChange, Node
from kmm.wire import Page
from kmm.workload_list import (
    Event,
    PodEvent,
    parse_daemon_sets,
    parse_events,
    parse_identities,
    parse_pod_event,
    parse_pods,
)
from kmm.workloads import DaemonSet, Pod

T = TypeVar("T")

_FEW: Final = 5  # so many requests take less than a list of thousands of pods
# What the API server says of a node that is gone, or came again with another uid, depends on its version and on the
# user's rights; all of these have other reasons too.
_GONE_STATUS: Final = frozenset({403, 404, 409, 422})
_SHOWN: Final = 20  # failures listed in one message


class Cluster:
    """One Kubernetes cluster. Every method raises ClusterError when the API server can't be reached or refuses."""

    def __init__(self, connection: Connection, access: Access) -> None:
        self._connection = connection
        self._access = access

    def __str__(self) -> str:
        """For messages: which context of which file."""
        return str(self._access)

    def provider_arguments(self) -> dict[str, str]:
        """`kubeconfig` and `context` that lead Pulumi's provider, and `connect`, to this very cluster.

        An empty `kubeconfig` stands for the environment's, which may be several files; it must be passed as it is,
        because the provider's SDK takes a missing one from `KUBECONFIG` as if that were a single path.
        """
        return {"kubeconfig": self._access.kubeconfig, "context": self._access.context}

    def identity(self) -> str:
        """The cluster's identity: the UID of its namespace `kube-system`, which lives as long as the cluster."""
        body = self._connection.get("/api/v1/namespaces/kube-system")
        try:
            return Namespace.model_validate_json(body).uid
        except ValidationError:
            raise ClusterError(f"namespace kube-system has no uid; is this a Kubernetes API? ({self})") from None

    def lacks_namespace(self, name: str) -> bool:
        """Whether a namespace is known not to be there; who has no right to look knows nothing."""
        try:
            self._connection.get(f"/api/v1/namespaces/{name}")
        except ApiStatusError as error:
            return error.status == 404
        return False

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, by name."""
        return sorted_nodes(self._list("/api/v1/nodes", {}, parse_page))

    def daemon_sets(self) -> tuple[DaemonSet, ...]:
        """The DaemonSets of all Modules of all stacks, by namespace and name."""
        query = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}
        found = self._list("/apis/apps/v1/daemonsets", query, parse_daemon_sets)
        return tuple(sorted(found, key=lambda daemon_set: (daemon_set.namespace, daemon_set.name)))

    def job_uids(self) -> dict[tuple[str, str], str]:
        """The UID of each Job of this project, by namespace and name."""
        query = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}
        found = self._list("/apis/batch/v1/jobs", query, parse_identities)
        return {(one.namespace, one.name): one.uid for one in found}

    def pods(self, *roles: str, modules: Collection[str] = (), nodes: Collection[str] = ()) -> tuple[Pod, ...]:
        """The pods in these roles (`module-loader`, `device-plugin`) of all Modules, or of these (`namespace/name`).

        Those of a few Modules are read Module by Module, those on a few `nodes` node by node.
        """
        selector = f"{ROLE_LABEL} in ({','.join(roles)})"
        path, query = "/api/v1/pods", {"labelSelector": selector}
        lists = [(path, query)]
        if 0 < len(nodes) <= _FEW:
            lists = [(path, query | {"fieldSelector": f"spec.nodeName={node}"}) for node in nodes]
        elif 0 < len(modules) <= _FEW:
            places = (module.split("/") for module in sorted(modules))
            lists = [
                (f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": f"{selector},{MODULE_NAME_LABEL}={name}"})
                for namespace, name in places
            ]
        found = (pod for one in lists for pod in self._list(*one, parse_pods))
        return tuple(
            pod for pod in found if (not modules or pod.module in modules) and (not nodes or pod.node in nodes)
        )

    def last_warning(self, namespace: str, name: str) -> str:
        """The last warning among the events of a pod or DaemonSet; empty if there is none."""
        query = {"fieldSelector": f"involvedObject.name={name},type=Warning"}
        found = self._list(f"/api/v1/namespaces/{namespace}/events", query, parse_events)
        return max(found, key=lambda event: event.last, default=Event("", "")).message

    def modules(self) -> tuple[dict[str, Any], ...]:
        """The Module objects of all namespaces as the API server gives them, without those that are being deleted."""
        try:
            found = self._list(f"/apis/{API_VERSION}/modules", {}, parse_modules)
        except ApiStatusError as error:
            if error.status != 404:
                raise
            raise ClusterError(
                f"this cluster has no Module objects: it lacks the CustomResourceDefinition modules.{API_GROUP} with "
                f"version v1beta1 ({self}). Install it, or set kmm:source to files"
            ) from None
        return tuple(module for module in found if "deletionTimestamp" not in module.get("metadata", {}))

    def audited_labels(self) -> frozenset[str]:
        """Keys of the labels that this project's rules of Node Feature Discovery put on nodes."""
        query = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}
        try:
            found = self._list(f"/apis/{NFD_API_VERSION}/nodefeaturerules", query, parse_rules)
        except ApiStatusError as error:
            if error.status != 404:
                raise
            raise ClusterError(
                "kmm:audit is nfd, but this cluster lacks the CustomResourceDefinition nodefeaturerules of "
                f"{NFD_API_VERSION} ({self}). Install Node Feature Discovery, or go without: pulumi config rm kmm:audit"
            ) from None
        return frozenset(key for rule in found for key in rule.labels)

    def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a Secret, its values in base64; None if there is none of that name."""
        return self._data("Secret", f"/api/v1/namespaces/{namespace}/secrets/{name}")

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap; None if there is none of that name."""
        return self._data("ConfigMap", f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def owner_of_job(self, namespace: str, name: str) -> str | None:
        """The stack that a Job is labelled with, empty for none; None if there is no Job of that name."""
        try:
            body = self._connection.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
        except ApiStatusError as error:
            if error.status != 404:
                raise
            return None
        return Labelled.model_validate_json(body).labels.get(INSTANCE_LABEL, "")

    def delete_job(self, namespace: str, name: str) -> None:
        """Begin to delete a Job: it goes when its pods have ended."""
        self._connection.delete(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")

    def pods_of_job(self, namespace: str, name: str) -> list[Pod]:
        """The pods of a Job; those of one that ran out of time as a whole are gone."""
        return self._list(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": f"job-name={name}"}, parse_pods)

    def log(self, pod: Pod, lines: int) -> str:
        """The end of a pod's log."""
        return self._connection.text(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log", {"tailLines": lines})

    def _data(self, kind: str, path: str) -> Mapping[str, str] | None:
        try:
            return DataObject.model_validate_json(self._connection.get(path)).data
        except ApiStatusError as error:
            if error.status != 404:
                raise
            return None
        except ValidationError:
            raise ClusterError(f"GET {path}: the answer is no {kind} ({self})") from None

    def pods_version(self) -> str:
        """The resource version of all pods now, from which `pod_events` can go on."""
        return ListVersion.model_validate_json(self._connection.get("/api/v1/pods", {"limit": 1})).resource_version

    def pod_events(self, role: str, since: str, seconds: int) -> Iterator[PodEvent]:
        """What happens to pods in this role from a resource version on, as it happens, for so many seconds.

        Raises ClusterError also when `since` is so long ago that the API server has forgotten what came after.
        """
        query = {"labelSelector": f"{ROLE_LABEL}={role}", "resourceVersion": since, "allowWatchBookmarks": "true"}
        lines = self._connection.watch("/api/v1/pods", query, seconds)
        yield from (parse_pod_event(line) for line in lines if line.strip())

    def delete_pod(self, namespace: str, name: str) -> None:
        """Begin to delete a pod: it goes when its containers have ended, preStop hooks first."""
        self._connection.delete(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def delete_daemon_set(self, namespace: str, name: str) -> None:
        """Delete a DaemonSet; its pods begin to end. If it went last, a dead node's pod would keep it for ever."""
        self._connection.delete(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", "Background")

    def apply_node_labels(self, changes: Iterable[LabelChange], field_manager: str) -> tuple[str, ...]:
        """Make `field_manager` own exactly these labels on these nodes; returns the nodes that are gone.

        Labels it owned before and that are not in the change disappear, unless another manager applied them too.
        Every node is tried; the failures are raised together.
        """
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            futures = {pool.submit(self._apply, change, field_manager): change.node for change in changes}
        failures = [
            f"{node}: {error}"
            for future, node in futures.items()
            if isinstance(error := future.exception(), ClusterError)
        ]
        if failures:
            raise ClusterError(_summary(failures, len(futures)))
        return tuple(node for future, node in futures.items() if not future.result())

    def _apply(self, change: LabelChange, field_manager: str) -> bool:
        """Whether the node was still there."""
        if not change.uid:  # the uid keeps the API server from creating a Node that is not there
            raise ValueError(f"labels for node {change.node} without its uid")
        metadata = {"name": change.node, "uid": change.uid, "labels": dict(change.labels)}
        document = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
        try:
            self._connection.apply(f"/api/v1/nodes/{change.node}", document, field_manager)
        except ApiStatusError as error:
            if error.status not in _GONE_STATUS or self._exists(change):
                raise
            return False
        return True

    def _exists(self, change: LabelChange) -> bool:
        found = self._list("/api/v1/nodes", {"fieldSelector": f"metadata.name={change.node}"}, parse_page)
        return any(node.uid == change.uid for node in found)

    def _list(self, path: str, query: Mapping[str, str], parse: Callable[[bytes], Page[T]]) -> list[T]:
        """All items below `path`."""

        def parse_page(body: bytes) -> Page[T]:
            try:
                return parse(body)
            except ClusterError as error:
                raise ClusterError(f"GET {path}: {error} ({self})") from None

        return read_list(self._connection, path, query, parse_page)


def _summary(failures: list[str], tried: int) -> str:
    shown = [f"  {failure}" for failure in failures[:_SHOWN]]
    more = [f"  and {len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
    return "\n".join([f"the labels of {len(failures)} of {tried} nodes could not be set:", *shown, *more])
