"""What engine tests share: a stack with Modules of its own, and what the cluster holds of them."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

import yaml

from kmm.names import (
    API_VERSION,
    JOB_TYPE_LABEL,
    KERNEL_LABEL,
    MODULE_KIND,
    MODULE_NAME_LABEL,
    NODE_PREFIX,
    ROLE_LABEL,
    ROLE_MODULE_LOADER,
)
from tests.conftest import OwnNodes
from tests.engine.warm_stack import WarmStack
from tools.api import Api
from tools.bootstrap import Toolset
from tools.cluster import Cluster
from tools.stack import Result, Stack, Step, kill

T = TypeVar("T")

KERNEL = "5.14.0-70.el9.x86_64"
NEXT_KERNEL = "5.14.0-162.el9.x86_64"

UP = ("up", "--yes", "--skip-preview", "--continue-on-error")
TAKE_OVER = "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"
DESTROY = ("destroy", "--yes", "--skip-preview", "--continue-on-error")

Object = dict[str, Any]


@dataclass
class Deployment:
    """A stack whose Modules are files in `folder`, all in one namespace and for the test's own nodes."""

    stack: Stack
    cluster: Cluster
    namespace: str
    nodes: OwnNodes
    folder: Path

    def write(
        self,
        name: str = "kmod",
        *,
        plugin: bool = False,
        modprobe: Object | None = None,
        container: Object | None = None,
        annotations: Object | None = None,
        **spec: Any,
    ) -> None:
        """Write a Module that matches every kernel; parts of it in wire form win over the defaults."""
        container = {
            "modprobe": {"moduleName": name.replace("-", "_")} | (modprobe or {}),
            "containerImage": f"registry.example/{name}:${{KERNEL_FULL_VERSION}}",
            "kernelMappings": [{"regexp": "^.+$"}],
        } | (container or {})
        device_plugin = {"devicePlugin": {"container": {"image": "registry.example/plugin:v1"}}} if plugin else {}
        module = {
            "apiVersion": API_VERSION,
            "kind": MODULE_KIND,
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations or {}},
            "spec": {
                "moduleLoader": {"container": container},
                "selector": self.nodes.selector,
                **device_plugin,
                **spec,
            },
        }
        self.folder.mkdir(exist_ok=True)
        written = self.folder / f"{name}.new"  # nobody shall read half of it
        written.write_text(yaml.safe_dump(module))
        written.replace(written.with_suffix(".yaml"))
        self.stack.config["kmm:modules"] = [str(self.folder)]

    def remove(self, name: str = "kmod") -> None:
        """Take a Module out of the definition."""
        (self.folder / f"{name}.yaml").unlink()

    def daemon_sets(self) -> dict[tuple[str, str], Object]:
        """The DaemonSets that the cluster holds, by Module and kernel label; a device plugin's kernel is empty."""
        return {
            (one["metadata"]["labels"][MODULE_NAME_LABEL], one["metadata"]["labels"].get(KERNEL_LABEL, "")): one
            for one in self.list(f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets")
        }

    def pods(self, role: str = ROLE_MODULE_LOADER) -> list[Object]:
        """The pods in this role, by node and name."""
        found = self.list(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={ROLE_LABEL}={role}")
        return sorted(found, key=lambda pod: (pod["spec"].get("nodeName", ""), pod["metadata"]["name"]))

    def count_ready(self) -> int:
        """How many pods are Ready, as far as the DaemonSets' controller has seen it."""
        return sum(one["status"].get("numberReady", 0) for one in self.daemon_sets().values())

    def jobs(self) -> list[Object]:
        """The Jobs, by name."""
        return self.list(f"/apis/batch/v1/namespaces/{self.namespace}/jobs")

    def job_pods(self, job_type: str = "build") -> list[Object]:
        """The pods of build or sign Jobs that have not ended."""
        found = self.list(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={JOB_TYPE_LABEL}={job_type}")
        return [pod for pod in found if pod["status"]["phase"] not in ("Succeeded", "Failed")]

    def labels(self, node: str) -> dict[str, str]:
        """This project's labels on a node, their keys without the prefix they share."""
        labels = self.api.request("GET", f"/api/v1/nodes/{node}")["metadata"]["labels"]
        return {key.removeprefix(NODE_PREFIX): value for key, value in labels.items() if key.startswith(NODE_PREFIX)}

    def ready_label(self, module: str = "kmod") -> str:
        """The key of a Module's ready label, as `labels` gives it."""
        return f"{self.namespace}.{module}.ready"

    def is_gone(self) -> bool:
        """Tell whether nothing of this project is left: no object, no pod, no label."""
        accounts = [
            one["metadata"]["name"] for one in self.list(f"/api/v1/namespaces/{self.namespace}/serviceaccounts")
        ]
        labelled = [name for name in self.nodes.names if self.labels(name)]
        pods = self.list(f"/api/v1/namespaces/{self.namespace}/pods")
        return not (self.daemon_sets() or self.jobs() or pods or labelled) and set(accounts) <= {"default"}

    def content(self) -> dict[str, Object]:
        """What this project could have written for this test; without what the control plane reports itself."""
        namespaced = f"namespaces/{self.namespace}"
        kinds = (
            f"/apis/apps/v1/{namespaced}/daemonsets",
            f"/apis/apps/v1/{namespaced}/controllerrevisions",
            f"/apis/batch/v1/{namespaced}/jobs",
            f"/api/v1/{namespaced}/serviceaccounts",
            f"/api/v1/{namespaced}/configmaps",
            f"/api/v1/{namespaced}/pods",
        )
        eventually(self._has_all_that_the_control_plane_writes)
        found = {f"{path}/{one['metadata']['name']}": _written(one) for path in kinds for one in self.list(path)}
        return found | {one["metadata"]["name"]: _written(one) for one in self._own_nodes()}

    def _has_all_that_the_control_plane_writes(self) -> bool:
        kinds = ("serviceaccounts", "configmaps")
        given = [one for kind in kinds for one in self.list(f"/api/v1/namespaces/{self.namespace}/{kind}")]
        names = {one["metadata"]["name"] for one in given}
        return {"default", "kube-root-ca.crt"} <= names and all(map(_is_known, self._own_nodes()))

    def _own_nodes(self) -> list[Object]:
        return [one for one in self.list("/api/v1/nodes") if one["metadata"]["name"] in self.nodes.names]

    @property
    def api(self) -> Api:
        """The API server, as cluster-admin."""
        return self.cluster.api

    def list(self, path: str) -> list[Object]:
        """The items at `path`."""
        items: list[Object] = self.api.request("GET", path)["items"]
        return items


def _is_known(node: Object) -> bool:
    """Tell whether the control plane has seen a new node, which it labels and annotates then."""
    labels, annotations = (node["metadata"].get(key, {}) for key in ("labels", "annotations"))
    return "beta.kubernetes.io/os" in labels and "node.alpha.kubernetes.io/ttl" in annotations


def _written(one: Object) -> Object:
    metadata = one["metadata"]
    fields = [entry for entry in metadata.get("managedFields", []) if entry.get("subresource") != "status"]
    kept = {key: value for key, value in metadata.items() if key not in ("managedFields", "resourceVersion")}
    return {"metadata": kept | {"managedFields": fields}, "spec": one.get("spec"), "data": one.get("data")}


def lose_state(deployment: Deployment, tools: Toolset) -> None:
    """From now on the deployment's stack is one that knows nothing of it."""
    lost = WarmStack(deployment.stack.folder.with_name("lost"), tools)
    lost.config = deployment.stack.config
    deployment.stack = lost


def forget_take_over(deployment: Deployment) -> None:
    """Run `up` without taking over: the provider's own settings change back, and nothing else."""
    del deployment.stack.environment[TAKE_OVER]
    assert not object_steps(deployment.stack.up().expect())


def declared(result: Result) -> list[Step]:
    """The steps on anything but the stack itself."""
    return [step for step in result.steps if step.type != "pulumi:pulumi:Stack"]


def object_steps(result: Result) -> Counter[tuple[str, str]]:
    """How often which kind of Kubernetes object was created, updated, …: `{("create", "DaemonSet"): 1}`."""
    return Counter(
        (step.op, step.type.rpartition(":")[2]) for step in result.steps if step.type.startswith("kubernetes:")
    )


def eventually(look: Callable[[], T], within: float = 60) -> T:
    """What `look` returns as soon as that is true."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within:.0f} s: {look}")
        time.sleep(0.1)
    return found


@contextmanager
def running(stack: Stack, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command in the background; when the test fails meanwhile it is killed, and its words shown."""
    with stack.language_host() as host:
        process = stack.start(*command, *host)
        try:
            yield process
        except BaseException as error:
            if process.stdout and not process.stdout.closed:
                error.add_note(kill(process))
            raise


def read_until(process: subprocess.Popen[str], text: str, within: float = 60) -> None:
    """Read a background command's output up to the line with `text`."""
    timer = Timer(within, process.kill)
    timer.start()
    try:
        assert process.stdout and any(text in line for line in process.stdout), f"{text!r} was not told"
    finally:
        timer.cancel()


def finish(process: subprocess.Popen[str], exit_code: int = 0, within: float = 120) -> str:
    """The output of a background command that is to end now."""
    output, _ = process.communicate(timeout=within)
    assert process.returncode == exit_code, output
    return output
