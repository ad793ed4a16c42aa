"""Guards against a rule that the API server refuses or that stays behind, and against an audit that begins where Node
Feature Discovery is not installed. The tests label nodes as NFD would.
"""

import pytest
import yaml

from kmm.names import NFD_KERNEL_LABEL, loaded_label
from tests.engine.accounts import Account
from tests.engine.deployment import KERNEL, object_steps
from tests.engine.whole_cluster.kinds import installed
from tools.bootstrap import CHECKOUT

pytestmark = pytest.mark.xdist_group("whole cluster")

RULES = "/apis/nfd.k8s-sigs.io/v1alpha1/nodefeaturerules"
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
EXPRESSION = {
    "type": "object",
    "required": ["op"],
    "properties": {
        "op": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist", "IsTrue", "IsFalse"]},
        "value": {"type": "array", "items": TEXT},
    },
}
FEATURE = {
    "type": "object",
    "required": ["feature"],
    "properties": {
        "feature": TEXT,
        "matchExpressions": {"type": "object", "additionalProperties": EXPRESSION},
    },
}
RULE = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": TEXT, "labels": TEXTS, "matchFeatures": {"type": "array", "items": FEATURE}},
}
SPEC = {"type": "object", "required": ["rules"], "properties": {"rules": {"type": "array", "items": RULE}}}


@pytest.fixture
def act_as(deployment, cluster, tmp_path):
    """Makes the stack act with the rights of a role in deploy/rbac."""
    accounts = {}

    def configure(role):
        if role not in accounts:
            rules = yaml.safe_load((CHECKOUT / f"deploy/rbac/{role}.yaml").read_text())["rules"]
            accounts[role] = Account(cluster, deployment.namespace, role, rules)
        deployment.stack.config["kmm:kubeconfig"] = accounts[role].write_kubeconfig(tmp_path / "account")

    yield configure
    for account in accounts.values():
        account.forget()


@pytest.fixture
def nfd(cluster):
    """The API of Node Feature Discovery, as far as its rules are used here."""
    names = {"kind": "NodeFeatureRule", "plural": "nodefeaturerules", "shortNames": ["nfr"]}
    schema = {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": SPEC}}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "nodefeaturerules.nfd.k8s-sigs.io"},
        "spec": {"group": "nfd.k8s-sigs.io", "scope": "Cluster", "names": names, "versions": [version]},
    }
    with installed(cluster.api, definition):
        yield


def test_without_nfd_a_preview_ends_with_what_is_missing(deployment):
    deployment.write()
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:audit"] = "nfd"
    preview = deployment.stack.preview().expect(1)
    assert "lacks the CustomResourceDefinition nodefeaturerules of nfd.k8s-sigs.io/v1alpha1" in preview.output
    assert not object_steps(preview)


def test_a_preview_names_nodes_where_nfd_and_pods_disagree(deployment, nfd, act_as):
    deployment.write("kmod")
    deployment.write("other")
    (node,) = deployment.nodes.add(KERNEL)
    (left,) = deployment.nodes.add(KERNEL)
    label(deployment, left, {"kmm.test/name": "none"})
    act_as("up")
    deployment.stack.up().expect()
    deployment.stack.config["kmm:audit"] = "nfd"
    assert " in the kernel" not in deployment.stack.up().expect().output, "judged before NFD had a rule"
    (rule,) = deployment.list(RULES)
    assert len(rule["spec"]["rules"]) == 2
    act_as("preview")
    deployment.stack.preview("--refresh", "--expect-no-changes").expect()

    seen = {NFD_KERNEL_LABEL: KERNEL}
    label(deployment, left, seen | {loaded_label(deployment.namespace, "kmod"): "true"})
    label(deployment, node, seen | {loaded_label(deployment.namespace, "other"): "true"})
    for pod in deployment.pods():
        backdate(deployment, pod)
    told = " ".join(deployment.stack.preview("--expect-no-changes").expect().output.split())
    assert f"{deployment.namespace}/kmod: on nodes {left}, kmod is in the kernel, but no loader of it runs" in told
    assert f"{deployment.namespace}/kmod: on nodes {node}, kmod is not in the kernel" in told
    assert f"{deployment.namespace}/other: on nodes" not in told

    act_as("up")
    del deployment.stack.config["kmm:audit"]
    assert deployment.stack.up().expect().changes == {"delete": 1}
    assert deployment.list(RULES) == []


def label(deployment, node, labels):
    deployment.cluster.nodes.patch(node, {"metadata": {"labels": labels}})


def backdate(deployment, pod):
    """Make the pod Ready since long ago."""
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    path = f"/api/v1/namespaces/{deployment.namespace}/pods/{pod['metadata']['name']}/status"
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    deployment.api.request("PATCH", path, {"status": {"conditions": [condition]}}, headers)
