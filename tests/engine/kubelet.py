"""The test as a kubelet."""

from tests.engine.deployment import KERNEL, Deployment, Object
from tools.nodes import SimulatedNode


class Kubelet:
    """The test as the kubelet of nodes that kwok leaves alone: pods become what it says, and end when it says."""

    def __init__(self, deployment: Deployment) -> None:
        self._api = deployment.api
        self._nodes = deployment.nodes

    def add_nodes(self, kernel: str = KERNEL, count: int = 1, labels: Object | None = None) -> list[str]:
        """Add nodes without anybody behind them; the control plane misses nobody for three minutes.

        `labels` are the Modules' selector, unless given.
        """
        names = [f"{self._nodes.unique}-quiet-{len(self._nodes.names) + index}" for index in range(count)]
        for name in names:
            manifest = SimulatedNode(name, kernel, labels or self._nodes.selector).manifest()
            manifest["metadata"]["annotations"].clear()
            self._api.request("POST", "/api/v1/nodes", manifest)
        self._nodes.names += names
        return names

    def fall_silent(self, node: str) -> None:
        """Let the node look as one whose kubelet has not reported for long."""
        then = "2020-01-01T00:00:00Z"
        condition = {"type": "Ready", "status": "Unknown", "lastHeartbeatTime": then, "lastTransitionTime": then}
        merge = {"Content-Type": "application/strategic-merge-patch+json"}
        self._api.request("PATCH", f"/api/v1/nodes/{node}/status", {"status": {"conditions": [condition]}}, merge)
        silent = "node.kubernetes.io/unreachable"
        taints = [{"key": silent, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        self._api.request("PATCH", f"/api/v1/nodes/{node}", {"spec": {"taints": taints}}, merge)

    def run(self, pod: Object, *, ready: bool = True) -> None:
        """Report the pod as running."""
        self._report(pod, "Running", {"running": {}}, ready)

    def crash(self, pod: Object, words: str, exit_code: int = 1) -> None:
        """Report a container that ended with `words` again and again."""
        ended = {"terminated": {"exitCode": exit_code, "reason": "Error", "message": words}}
        self._report(pod, "Running", {"waiting": {"reason": "CrashLoopBackOff"}}, False, ended)

    def wait_with(self, pod: Object, reason: str, words: str) -> None:
        """Report a container that cannot start."""
        self._report(pod, "Pending", {"waiting": {"reason": reason, "message": words}}, False)

    def complete(self, pod: Object, exit_code: int = 0, **fields: str) -> None:
        """Report that the pod has done its work, or failed; `fields` are added to its status."""
        phase = "Failed" if exit_code else "Succeeded"
        self._report(pod, phase, {"terminated": {"exitCode": exit_code}}, False, **fields)

    def say_at_the_end(self, pod: Object, words: str, *, phase: str = "Running") -> None:
        """Report a container that has ended, with `words`, as it was told to."""
        ended = {"terminated": {"exitCode": 143, "reason": "Error", "message": words}}
        self._report(pod, phase, ended, False)

    def end(self, pod: Object) -> None:
        """The pod's containers have ended: let it go."""
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self._api.request("DELETE", path, {"gracePeriodSeconds": 0})

    def _report(
        self, pod: Object, phase: str, state: Object, ready: bool, last: Object | None = None, **fields: str
    ) -> None:
        name = pod["spec"]["containers"][0]["name"]
        container = {"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 3 if last else 0}
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [container | {"state": state, "lastState": last or {}}],
            **fields,
        }
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        self._api.request("PATCH", path, {"status": status}, {"Content-Type": "application/merge-patch+json"})
