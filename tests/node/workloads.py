"""Objects in one namespace of a real cluster: created, waited for, removed as Pulumi's provider removes them."""

import subprocess
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tools.api import ApiError
from tools.bootstrap import Toolset
from tools.cluster import Cluster
from tools.real.site import wait_until

_RESOURCES = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}


@dataclass(frozen=True)
class Workloads:
    """Creates, waits for and removes; ApiError when the API server refuses."""

    cluster: Cluster
    tools: Toolset
    namespace: str

    def create(self, kind: str, name: str, **content: Any) -> None:
        """Create an object; `content` is what it has besides its metadata."""
        versions = {"ConfigMap": "v1", "Pod": "v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}
        body = {"apiVersion": versions[kind], "kind": kind, "metadata": {"name": name}, **content}
        self.cluster.api.request("POST", self._path(kind), body)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the object, None when it is not there."""
        try:
            return self.cluster.api.request("GET", self._path(kind, name))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def remove(self, kind: str, name: str, within_seconds: float = 60) -> None:
        """Delete in the foreground and wait until it and its pods are gone."""
        options = {"propagationPolicy": "Foreground"}
        self.cluster.api.request("DELETE", self._path(kind, name), options)
        wait_until(lambda: self.get(kind, name) is None, f"{kind} {name} is gone", within_seconds)

    def wait_for_job(self, name: str, within_seconds: float = 300) -> None:
        """Wait until a Job succeeds; AssertionError with its log when it fails."""

        def ended() -> bool:
            status = self.get("Job", name)["status"]
            assert not status.get("failed"), self.kubectl("logs", f"job/{name}", "--tail=50")
            return bool(status.get("succeeded"))

        wait_until(ended, f"Job {name} is done", within_seconds)

    def wait_for_pod(self, selector: str, within_seconds: float = 120) -> str:
        """Wait until the one pod of a selector is Ready and return its name."""
        wait_until(lambda: self._ready(selector), f"pod {selector} is Ready", within_seconds)
        (pod,) = self.pods(selector)
        return pod["metadata"]["name"]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the pods of a label selector."""
        return self.cluster.api.request("GET", f"{self._path('Pod')}?labelSelector={selector}")["items"]

    def kubectl(self, *arguments: str) -> str:
        """Return the output of kubectl in the namespace; AssertionError with its words when it fails."""
        kubectl = [self.tools.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig, "-n", self.namespace]
        done = subprocess.run([*kubectl, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _ready(self, selector: str) -> bool:
        conditions = [pod["status"].get("conditions", []) for pod in self.pods(selector)]
        return [{"type": "Ready", "status": "True"}.items() <= c.items() for pod in conditions for c in pod].count(
            True
        ) == 1

    def _path(self, kind: str, name: str | None = None) -> str:
        path = _RESOURCES[kind].format(self.namespace)
        return f"{path}/{name}" if name else path
