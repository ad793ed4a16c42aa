"""Guards against manifests of deploy/continuous that the API server refuses, that name what is not there, or whose
command does not deploy.
"""

import re
import subprocess
import sys

import pytest
import yaml

from tests.engine.deployment import KERNEL
from tests.engine.whole_cluster.kinds import installed
from tools.bootstrap import CHECKOUT
from tools.environment import pulumi_environment

pytestmark = pytest.mark.xdist_group("whole cluster")

FOLDER = CHECKOUT / "deploy/continuous"
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "Stack": "/apis/pulumi.com/v1/namespaces/{}/stacks",
}
TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}


def an_object(*required, **properties):
    return {"type": "object", "required": list(required), "properties": properties}


# What version 2 of the Pulumi Kubernetes Operator takes of the fields that stack.yaml uses.
REFERENCE = an_object(
    "type",
    type={"type": "string", "enum": ["Env", "FS", "Secret", "Literal"]},
    literal=an_object("value", value=TEXT),
    secret=an_object("key", "name", key=TEXT, name=TEXT),
)
STACK = an_object(
    "stack",
    serviceAccountName=TEXT,
    stack=TEXT,
    projectRepo=TEXT,
    branch=TEXT,
    backend=TEXT,
    envRefs={"type": "object", "additionalProperties": REFERENCE},
    refresh=FLAG,
    continueResyncOnCommitMatch=FLAG,
    resyncFrequencySeconds=NUMBER,
    destroyOnFinalize=FLAG,
)


@pytest.fixture(scope="module")
def pulumi_operator(cluster):
    """The API of the Pulumi Kubernetes Operator, as far as it is used here."""
    schema = {"openAPIV3Schema": an_object(spec=STACK)}
    definition = {
        "metadata": {"name": "stacks.pulumi.com"},
        "spec": {
            "group": "pulumi.com",
            "scope": "Namespaced",
            "names": {"kind": "Stack", "plural": "stacks"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    with installed(cluster.api, definition):
        yield


def documents(name):
    return [one for one in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()) if one]


def container():
    """The container of the CronJob's pods."""
    (job,) = (one for one in documents("cronjob") if one["kind"] == "CronJob")
    return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("name", ["account", "cronjob", "stack"])
def test_the_api_server_takes_the_manifests(name, cluster, namespace, pulumi_operator):
    for one in documents(name):
        body = one | {"metadata": one["metadata"] | ({"namespace": namespace} if "{}" in PATHS[one["kind"]] else {})}
        path = PATHS[one["kind"]].format(namespace)
        kept = cluster.api.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", body)
        assert kept["metadata"]["name"] == one["metadata"]["name"]


def test_the_manifests_speak_of_the_same_account_role_and_secret():
    account, stack, pod = documents("account"), documents("stack"), yaml.safe_dump(documents("cronjob"))
    (role,) = (one["metadata"]["name"] for one in yaml.safe_load_all((FOLDER.parent / "rbac/up.yaml").read_text()))
    bindings = [one for one in (*account, *stack) if one["kind"] == "ClusterRoleBinding"]
    assert [one["roleRef"]["name"] for one in bindings] == [role, "system:auth-delegator"]
    assert all(one["subjects"] == [{"kind": "ServiceAccount", "name": "kmm", "namespace": "kmm"}] for one in bindings)
    assert "serviceAccountName: kmm" in pod
    assert documents("stack")[1]["spec"]["serviceAccountName"] == "kmm"
    secret = {"name": "kmm-state", "key": "passphrase"}
    assert stack[1]["spec"]["envRefs"]["PULUMI_CONFIG_PASSPHRASE"]["secret"] == secret
    assert any(one.get("valueFrom", {}).get("secretKeyRef") == secret for one in container()["env"])


def test_the_image_is_made_of_what_the_checkout_has():
    text = (FOLDER / "Containerfile").read_text()
    sources = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert sources
    assert [name for name in sources if not (CHECKOUT / name).exists()] == []


def test_the_command_of_the_cronjob_deploys_and_then_has_nothing_to_do(deployment, tools, tmp_path):
    deployment.write()
    (node,) = deployment.nodes.add(KERNEL)
    project = tmp_path / "project"
    (project / "stacks").mkdir(parents=True)
    for name in ("Pulumi.yaml", "__main__.py", "kmm"):
        (project / name).symlink_to(CHECKOUT / name)
    (project / ".venv").symlink_to(sys.prefix)
    (project / "stacks/Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": deployment.stack.config}))
    given = {one["name"]: one["value"] for one in container()["env"] if "value" in one}
    state = pulumi_environment(tools, tmp_path / "state")
    command = [*container()["command"], *container()["args"]]

    def run():
        environment = given | state
        ended = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert "created" in run()
    assert deployment.ready_label() in deployment.labels(node)
    again = run()
    assert "unchanged" in again
    assert not re.search(r"\d+ (created|updated|deleted)", again)
