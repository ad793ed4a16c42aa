"""Objects in one namespace of a real cluster: created, waited for, removed as Pulumi's provider removes them."""

import subprocess
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tools.api import ApiError
from tools.bootstrap import Toolset
from tools.cluster import Cluster
from tools.real.packages import RealNodesError
from tools.real.site import wait_until

_KINDS = {
    "DaemonSet": ("apps/v1", "/apis/apps/v1/namespaces/{}/daemonsets"),
    "Job": ("batch/v1", "/apis/batch/v1/namespaces/{}/jobs"),
    "Pod": ("v1", "/api/v1/namespaces/{}/pods"),
}


@dataclass(frozen=True)
class Workloads:
    """Creates, waits for and removes; ApiError when the API server refuses."""

    cluster: Cluster
    tools: Toolset
    namespace: str

    def create(self, kind: str, name: str, **content: Any) -> None:
        """Create an object; `content` is what it has besides its metadata."""
        body = {"apiVersion": _KINDS[kind][0], "kind": kind, "metadata": {"name": name}, **content}
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
        """Wait until the one pod of a selector is Ready and return its name; a failure comes with pods and events."""
        try:
            wait_until(lambda: self._ready_pod(selector) is not None, f"one pod {selector} is Ready", within_seconds)
        except RealNodesError as error:
            error.add_note(f"{self.kubectl('get', 'pods', '--output=wide')}\n{self.kubectl('events')}")
            raise
        return self._ready_pod(selector)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the pods of a label selector."""
        return self.cluster.api.request("GET", f"{self._path('Pod')}?labelSelector={selector}")["items"]

    def kubectl(self, *arguments: str) -> str:
        """Return the output of kubectl in the namespace; AssertionError with its words when it fails."""
        kubectl = [self.tools.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig, "-n", self.namespace]
        done = subprocess.run([*kubectl, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _ready_pod(self, selector: str) -> str | None:
        pods = self.pods(selector)
        if len(pods) != 1:
            return None
        conditions = {condition["type"]: condition["status"] for condition in pods[0]["status"].get("conditions", [])}
        return pods[0]["metadata"]["name"] if conditions.get("Ready") == "True" else None

    def _path(self, kind: str, name: str | None = None) -> str:
        path = _KINDS[kind][1].format(self.namespace)
        return f"{path}/{name}" if name else path
