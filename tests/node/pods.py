"""Parts of pods for tests on real nodes."""

from typing import Any

from tools.real.images import DEBIAN_IMAGE

APP = {"app": "test"}
SELECTOR = "app=test"


def pod_spec(node: str, container: dict[str, Any], *volumes: dict[str, Any]) -> dict[str, Any]:
    """A pod of one container that runs on `node`, from the Debian image when `container` names none."""
    return {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "shareProcessNamespace": True,  # as loaders: process 1 of a namespace would not hear SIGTERM
        "containers": [{"name": "main", "image": DEBIAN_IMAGE, **container}],
        "volumes": list(volumes),
    }


def daemon_set(spec: dict[str, Any]) -> dict[str, Any]:
    """What a DaemonSet of these pods has besides its metadata; SELECTOR finds them."""
    template = {"metadata": {"labels": APP}, "spec": spec}
    return {"spec": {"selector": {"matchLabels": APP}, "template": template}}


def job(spec: dict[str, Any]) -> dict[str, Any]:
    """What a Job that is tried once has besides its metadata."""
    return {"spec": {"backoffLimit": 0, "template": {"spec": spec | {"restartPolicy": "Never"}}}}


def host_path(name: str, path: str, kind: str) -> dict[str, Any]:
    """A volume of a path on the node."""
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def mount(name: str, path: str) -> dict[str, str]:
    """A mount of a volume."""
    return {"name": name, "mountPath": path}
