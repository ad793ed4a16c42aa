"""Guards against a CustomResourceDefinition that the API server takes but that refuses, or loses, valid Modules."""

import pytest
import yaml
from commands import GOLDEN, kmm
from module_files import FULL, MINIMAL
from test_schema import WRONG, changed

from kmm.definition.crd import custom_resource_definition
from tests.engine.whole_cluster.kinds import CRDS, installed
from tools.api import ApiError

pytestmark = pytest.mark.xdist_group("whole cluster")

SPECIFICATION = (GOLDEN / "specification" / "module.yaml").read_text()


def test_a_status_by_a_cluster_without_the_kind_module_says_so(cluster):
    finished = kmm("status", "--source", "cluster", "--kubeconfig", cluster.kubeconfig)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert f"lacks the CustomResourceDefinition {custom_resource_definition()['metadata']['name']}" in finished.stderr


@pytest.fixture(scope="module")
def api(cluster):
    """The API server with the definition, once it serves Modules."""
    definition = yaml.safe_load(kmm("schema", "--crd").stdout)
    with installed(cluster.api, definition):
        yield cluster.api


def true_conditions(definition):
    conditions = definition["status"].get("conditions") or []
    return {condition["type"] for condition in conditions if condition["status"] == "True"}


def create(api, namespace, document):
    """Creates it as kubectl does: unknown fields are errors."""
    document["metadata"] = {"name": document["metadata"]["name"], "namespace": namespace}
    document.pop("status", None)
    path = f"/apis/kmm.sigs.x-k8s.io/v1beta1/namespaces/{namespace}/modules?fieldValidation=Strict"
    return api.request("POST", path, document)


def test_the_schema_is_structural(api):
    definition = api.request("GET", f"{CRDS}/modules.kmm.sigs.x-k8s.io")
    assert true_conditions(definition) == {"Established", "NamesAccepted"}


@pytest.mark.parametrize("text", [MINIMAL, FULL, SPECIFICATION], ids=["minimal", "full", "specification"])
def test_a_valid_module_is_stored_as_it_is(api, namespace, text):
    document = yaml.safe_load(text)
    assert create(api, namespace, document)["spec"] == yaml.safe_load(text)["spec"]


@pytest.mark.parametrize(
    ("path", "value"), [wrong for wrong in WRONG if not wrong.values[0].startswith(("metadata", "kind"))]
)
def test_a_wrong_module_is_refused(api, namespace, path, value):
    with pytest.raises(ApiError) as refused:
        create(api, namespace, yaml.safe_load(changed(path, value)))
    assert refused.value.status in (400, 422)
    assert path.split(".")[-1].removesuffix("s") in str(refused.value)


def test_the_status_can_be_written_apart(api, namespace):
    create(api, namespace, yaml.safe_load(MINIMAL))
    path = f"/apis/kmm.sigs.x-k8s.io/v1beta1/namespaces/{namespace}/modules/my-kmod"
    status = {"moduleLoader": {"availableNumber": 1, "desiredNumber": 2, "nodesMatchingSelectorNumber": 3}}
    patch = {"Content-Type": "application/merge-patch+json"}
    api.request("PATCH", f"{path}/status", {"status": status}, patch)
    assert api.request("GET", path)["status"] == status
