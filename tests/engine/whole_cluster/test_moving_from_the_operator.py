"""Guards against the move from the operator unloading a module, by running the commands of its page on its objects.

Simulated nodes have no kernel: that a pod was neither ended nor replaced stands for a module that stayed. What the
kubelet does with an adopted pod is for the node tier.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from kmm.definition.crd import custom_resource_definition
from kmm.names import API_VERSION, KERNEL_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ROLE_DEVICE_PLUGIN, version_label
from tests import operator_objects
from tests.engine.deployment import KERNEL, NEXT_KERNEL, eventually, object_steps
from tests.engine.whole_cluster.kinds import installed
from tools.api import ApiError
from tools.bootstrap import CHECKOUT
from tools.environment import tool_environment

pytestmark = pytest.mark.xdist_group("whole cluster")

PAGE = CHECKOUT / "docs/how-to/moving-from-the-operator.md"
OPERATOR_NAMESPACE = "kmm-operator-system"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def steps():
    """The commands of each step of the page, by its heading."""
    heading, found = "", {}
    tokens = MarkdownIt().parse(PAGE.read_text())
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[index + 1].content
        elif token.type == "fence":
            found.setdefault(heading.partition(".")[0], []).append(token.content)
    return found


@pytest.fixture
def definition(cluster):
    """The kind Module, as the operator installs it."""
    with installed(cluster.api, custom_resource_definition()):
        yield


class Operator:
    """A cluster in which the operator made a Module's loaders and labels, and then was left alone."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.api, self.namespace = deployment.api, deployment.namespace

    def install(self):
        labels = {"control-plane": "controller-manager"}
        container = {"name": "manager", "image": "registry.example/operator:v1.1.0"}
        pod = {"containers": [container], "nodeSelector": self.deployment.nodes.selector}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        deployment = {"metadata": {"name": "kmm-operator-controller-manager"}, "spec": spec}
        self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": OPERATOR_NAMESPACE}})
        self.api.request("POST", f"/apis/apps/v1/namespaces/{OPERATOR_NAMESPACE}/deployments", deployment)

    def deploy(self, **container):
        """Make what the operator makes of a Module with a device plugin, on all nodes of the test."""
        module = self._module(container)
        for kernel in (KERNEL, NEXT_KERNEL):
            self._create(operator_objects.loader(module, kernel, f"registry.example/kmod:{kernel}"))
        self._create(operator_objects.device_plugin(module))
        for name in self.deployment.nodes.names:
            kernel = self.api.request("GET", f"/api/v1/nodes/{name}")["status"]["nodeInfo"]["kernelVersion"]
            labels = operator_objects.node_labels(module, kernel)
            path = f"/api/v1/nodes/{name}?fieldManager={operator_objects.FIELD_MANAGER}"
            self.api.request("PATCH", path, {"metadata": {"labels": labels}}, MERGE_PATCH)
        count = len(self.deployment.nodes.names)
        eventually(lambda: len(ready(self.deployment.pods())) == count)
        eventually(lambda: len(ready(self.deployment.pods(ROLE_DEVICE_PLUGIN))) == count)

    def _module(self, container):
        self.deployment.write(plugin=True)
        module = yaml.safe_load((self.deployment.folder / "kmod.yaml").read_text())
        module["spec"]["moduleLoader"]["container"] |= container
        return self.api.request("POST", f"/apis/{API_VERSION}/namespaces/{self.namespace}/modules", module)

    def _create(self, daemon_set):
        self.api.request("POST", f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets", daemon_set)

    def age(self, generation):
        """The operator has changed its DaemonSets so often that their pods carry this generation."""
        for pod in self.deployment.pods():
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}"
            labels = {"pod-template-generation": generation}
            self.api.request("PATCH", path, {"metadata": {"labels": labels}}, MERGE_PATCH)


@pytest.fixture
def operator(deployment, definition, cluster):
    operator = Operator(deployment)
    operator.install()
    yield operator
    for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN)):
        path = f"/api/v1/namespaces/{deployment.namespace}/pods/{pod['metadata']['name']}"
        cluster.api.request("PATCH", path, {"metadata": {"finalizers": None}}, MERGE_PATCH)
    try:
        cluster.api.request("DELETE", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}")
    except ApiError as error:  # the page has removed it
        if error.status not in (404, 409):
            raise
    eventually(lambda: OPERATOR_NAMESPACE not in str(cluster.api.request("GET", "/api/v1/namespaces")))


@pytest.fixture
def shell(cluster, tools, tmp_path):
    """Runs commands of the page as a reader of it would; returns what they print."""

    def run(script):
        environment = tool_environment(tools) | {"KUBECONFIG": str(cluster.kubeconfig)}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        environment["PYTHONPATH"] = str(CHECKOUT)
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    return run


def ready(pods):
    return [
        pod
        for pod in pods
        if {"type": "Ready", "status": "True"}.items() <= (_condition(pod, "Ready") or {}).items()
        and "deletionTimestamp" not in pod["metadata"]
    ]


def _condition(pod, kind):
    return next((one for one in pod["status"].get("conditions", []) if one["type"] == kind), None)


def identities(pods):
    return {pod["metadata"]["uid"]: pod["spec"]["nodeName"] for pod in pods}


def owners(pods):
    return {owner["name"] for pod in pods for owner in pod["metadata"].get("ownerReferences", [])}


def test_no_loader_pod_ends_while_the_stack_takes_over(deployment, operator, shell, nodes, tmp_path):
    pulumi = deployment.stack
    first, *_ = nodes.add(KERNEL, 2)
    nodes.add(NEXT_KERNEL)
    operator.deploy()
    operator.age("3")
    deployment.cluster.nodes.patch(first, {"spec": {"unschedulable": True}})
    before = identities(deployment.pods())
    pulumi.config |= {"kmm:source": "cluster", "kmm:modules": []}
    page = steps()

    assert f"{deployment.namespace}/kmod" in shell(page["1"][0])
    preview = pulumi.preview().expect()
    assert {step.op for step in preview.steps} == {"create"}
    assert "unloaded" not in preview.output

    for step in "2345":
        shell(page[step][0])
        assert identities(deployment.pods()) == before
    assert deployment.daemon_sets() == {}

    pulumi.up().expect()
    pods = deployment.pods()
    assert identities(ready(pods)) == before
    assert owners(pods) == {one["metadata"]["name"] for (_, kernel), one in deployment.daemon_sets().items() if kernel}
    assert not any(pod["metadata"].get("finalizers") for pod in pods)
    shell(page["6"][1])
    assert deployment.labels(first)[deployment.ready_label()] == ""
    assert object_steps(pulumi.up("--expect-no-changes").expect()) == {}

    for commands in page["7"][:1]:
        shell(commands)
    written, *_ = page["7"][1].splitlines()
    shell(written)
    pulumi.config |= {"kmm:source": "files", "kmm:modules": [str(tmp_path / "modules.yaml")]}
    pulumi.preview("--expect-no-changes").expect()
    shell(page["7"][1].splitlines()[-1])
    pulumi.preview("--expect-no-changes").expect()

    pulumi.destroy().expect()
    assert deployment.pods() == []
    assert set(deployment.labels(first)) == {KERNEL_LABEL.rpartition("/")[2], "kmod.ready"}


def test_pods_of_a_version_are_adopted_when_they_carry_the_stack_s_label(deployment, operator, shell, nodes, pulumi):
    label = version_label(deployment.namespace, "kmod")
    beta = f"beta.kmm.node.kubernetes.io/version-module-loader.{deployment.namespace}.kmod"
    nodes.add(KERNEL, labels={label: "1.2", beta: "1.2"})
    nodes.add(NEXT_KERNEL, labels={label: "1.2", beta: "1.2"})
    operator.deploy(version="1.2")
    before = identities(deployment.pods())
    page = steps()
    for step in "2345":
        shell(page[step][0])
    versioned = page["4"][1].replace("drivers.my-kmod", f"{deployment.namespace}.kmod").replace("my-kmod", "kmod")
    shell(versioned.replace("drivers", deployment.namespace))
    pulumi.config |= {"kmm:source": "cluster", "kmm:modules": []}
    pulumi.up().expect()
    assert identities(ready(deployment.pods())) == before
    pulumi.destroy().expect()


def test_pods_of_a_stack_that_runs_already_are_left_alone(deployment, operator, shell, nodes):
    nodes.add(KERNEL)
    operator.deploy()
    shell(f"kubectl --namespace {deployment.namespace} label daemonsets --all {MANAGED_BY_LABEL}={MANAGED_BY}")
    page = steps()
    for step in "34":
        shell(page[step][0])
    for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN)):
        assert pod["metadata"]["finalizers"] == [operator_objects.FINALIZER]
        assert pod["metadata"]["ownerReferences"]
