"""Guards against stacks that take objects or labels from each other, and a stack applied to another cluster."""

import pytest
import yaml

from kmm.names import ROLE_DEVICE_PLUGIN
from tests.conftest import OwnNodes
from tests.engine.deployment import DESTROY, KERNEL, TAKE_OVER, UP, Deployment, finish, forget_take_over, running
from tests.engine.warm_stack import WarmStack


@pytest.fixture
def other(deployment, tools, tmp_path) -> Deployment:
    """A second stack with Modules of its own for the same nodes and namespace."""
    stack = WarmStack(tmp_path / "other", tools)
    stack.config["kmm:kubeconfig"] = deployment.stack.config["kmm:kubeconfig"]
    return Deployment(stack, deployment.cluster, deployment.namespace, deployment.nodes, tmp_path / "other-modules")


def test_stacks_that_share_nodes_do_not_touch_each_other_s_labels_and_pods_nor_deploy_the_same_module(
    deployment, other
):
    deployment.write("one", plugin=True)
    other.write("one")
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    pods = {pod["metadata"]["uid"] for pod in deployment.pods()}
    owner = deployment.daemon_sets()["one", KERNEL]["metadata"]["labels"]["app.kubernetes.io/instance"]
    before = deployment.content()
    refused = other.stack.up().expect(1).output
    assert f"(of stack {owner})" in refused
    assert "take them out of one of the two" in refused
    assert deployment.content() == before

    other.remove("one")
    other.write("two", plugin=True)
    other.stack.up().expect()
    deployment.stack.preview("--expect-no-changes").expect()
    other.stack.destroy().expect()
    assert {pod["metadata"]["uid"] for pod in deployment.pods()} == pods
    ready = {f"{deployment.namespace}.one.{what}": "" for what in ("ready", "device-plugin-ready")}
    assert deployment.labels(node) == {"kernel-version.full": KERNEL} | ready
    deployment.stack.preview("--expect-no-changes").expect()
    deployment.stack.destroy().expect()
    assert deployment.is_gone()


def test_a_module_moves_to_another_stack_without_being_unloaded(deployment, other):
    """As docs/how-to/several-clusters.md says; the second stack may be new."""
    deployment.write("moves", plugin=True)
    deployment.write("stays", plugin=True)
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    pods = {pod["metadata"]["uid"] for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN))}
    labels = deployment.labels(node)

    component = f"kmm:index:KernelModule::{deployment.namespace}/moves"
    (urn,) = (one["urn"] for one in deployment.stack.state()["resources"] if one["urn"].endswith(component))
    deployment.stack.run("state", "delete", urn, "--target-dependents", "--yes").expect()
    deployment.remove("moves")
    other.write("moves", plugin=True)
    other.stack.environment[TAKE_OVER] = "true"
    other.stack.up().expect()
    del other.stack.environment[TAKE_OVER]
    for one in (other, deployment):
        one.stack.up().expect()
        one.stack.preview("--expect-no-changes").expect()
    assert {pod["metadata"]["uid"] for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN))} == pods
    assert deployment.labels(node) == labels

    other.stack.destroy().expect()
    assert {module for module, _ in deployment.daemon_sets()} == {"stays"}
    deployment.stack.preview("--expect-no-changes").expect()


def test_what_kubectl_applied_to_a_node_stays_there(deployment):
    """As `kubectl get -o yaml | kubectl apply --server-side` does, which then owns this project's labels, too."""
    deployment.write()
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    path, labels = f"/api/v1/nodes/{node}", deployment.labels(node)
    own = {"example.com/tier": "edge"}
    taint = {"key": "example.com/tier", "value": "edge", "effect": "PreferNoSchedule"}
    whole = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"labels": deployment.api.request("GET", path)["metadata"]["labels"] | own},
        "spec": {"taints": [taint]},
    }
    apply = {"Content-Type": "application/apply-patch+yaml"}
    deployment.api.request("PATCH", f"{path}?fieldManager=kubectl&force=true", whole, apply)
    deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    found = deployment.api.request("GET", path)
    assert found["spec"]["taints"] == [taint]
    assert found["metadata"]["labels"].items() >= own.items()
    assert deployment.labels(node) == labels
    deployment.stack.preview("--expect-no-changes").expect()


@pytest.fixture
def elsewhere(deployment, whole_cluster, unique) -> Deployment:
    """The same stack, with a namespace and a node of the same names on another cluster."""
    nodes = OwnNodes(whole_cluster, unique)
    whole_cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": unique}})
    nodes.add(KERNEL)
    yield Deployment(deployment.stack, whole_cluster, deployment.namespace, nodes, deployment.folder)
    whole_cluster.nodes.remove(nodes.names)
    whole_cluster.api.request("DELETE", f"/api/v1/namespaces/{unique}")


@pytest.mark.xdist_group("whole cluster")
def test_a_preview_says_that_the_cluster_is_wrong_before_it_misses_anything_there(deployment, elsewhere, built):
    built.write()
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:imageCheck"] = "assume-present"
    deployment.stack.up().expect()
    there = {"kmm:kubeconfig": str(elsewhere.cluster.kubeconfig), "kmm:imageCheck": "assume-missing"}
    deployment.stack.config |= there
    refused = deployment.stack.preview().expect(1).output
    assert "wrong cluster: this stack belongs to the cluster whose" in refused
    assert "does not exist" not in refused


@pytest.mark.xdist_group("whole cluster")
def test_a_stack_refuses_another_cluster_and_touches_nothing_there(deployment, elsewhere, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(deployment.cluster.kubeconfig.read_text())
    deployment.stack.config["kmm:kubeconfig"] = str(kubeconfig)
    deployment.write(plugin=True)
    assert deployment.nodes.add(KERNEL) == elsewhere.nodes.names
    deployment.stack.up().expect()
    before = deployment.content(), elsewhere.content()
    kubeconfig.write_text(elsewhere.cluster.kubeconfig.read_text())
    for result in (deployment.stack.up(), deployment.stack.destroy()):
        assert "wrong cluster: this stack belongs to the cluster whose" in result.expect(1).output
        assert "Traceback" not in result.output
    assert (deployment.content(), elsewhere.content()) == before
    kubeconfig.write_text(deployment.cluster.kubeconfig.read_text())
    deployment.stack.destroy().expect()
    assert deployment.is_gone()


@pytest.mark.xdist_group("whole cluster")
def test_after_a_refresh_in_another_cluster_the_objects_are_taken_over_as_the_error_says(
    deployment, elsewhere, tmp_path
):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(deployment.cluster.kubeconfig.read_text())
    deployment.stack.config["kmm:kubeconfig"] = str(kubeconfig)
    deployment.write(plugin=True)
    deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    pods = {pod["metadata"]["uid"] for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN))}
    kubeconfig.write_text(elsewhere.cluster.kubeconfig.read_text())
    refused = deployment.stack.up("--refresh").expect(1).output
    assert "Nothing was changed in either cluster" in refused
    assert f"{TAKE_OVER}=true pulumi up" in refused

    kubeconfig.write_text(deployment.cluster.kubeconfig.read_text())
    assert "already exists" in deployment.stack.up().expect(1).output
    deployment.stack.environment[TAKE_OVER] = "true"
    deployment.stack.up().expect()
    forget_take_over(deployment)
    deployment.stack.preview("--expect-no-changes").expect()
    assert {pod["metadata"]["uid"] for pod in (*deployment.pods(), *deployment.pods(ROLE_DEVICE_PLUGIN))} == pods


@pytest.mark.xdist_group("whole cluster")
def test_a_stack_whose_first_up_failed_takes_nothing_from_the_stack_of_another_cluster(
    deployment, elsewhere, other, built, tmp_path
):
    """Both stacks have the same Modules, and the contexts of their clusters the same name."""

    def lead_to(cluster):
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["contexts"][0]["name"] = config["current-context"] = "edge"
        kubeconfig.write_text(yaml.safe_dump(config))

    kubeconfig = tmp_path / "kubeconfig"
    deployment.stack.config |= {"kmm:kubeconfig": str(kubeconfig), "kmm:rollout": {"timeout": "3s"}}
    for name in ("kmod", "refused"):
        deployment.write(name, plugin=True)
    deployment.write("idle", selector={"kmm.test/name": "nobody"})
    built.write("built")
    built.create("serviceaccounts", {"metadata": {"name": "refused-module-loader"}})
    built.kubelet.add_nodes()
    lead_to(deployment.cluster)
    with running(deployment.stack, *UP) as up:
        built.make()
        assert "is not loaded as defined on 1 of 1 nodes" in finish(up, 1)
    assert {module for module, _ in deployment.daemon_sets()} == {"kmod", "built"}
    assert not [one for one in deployment.stack.state()["resources"] if "Rollout" in one["urn"]]

    lead_to(elsewhere.cluster)
    other.stack.config |= deployment.stack.config | {"kmm:imageCheck": "assume-present"}
    other.stack.up().expect()
    before = elsewhere.content()
    assert {module for module, _ in elsewhere.daemon_sets()} == {"kmod", "refused", "built"}
    for command in DESTROY, DESTROY[:-1]:  # also when the first failure ends it
        with running(deployment.stack, *command) as destruction:
            refused = finish(destruction, 1)
        assert "wrong cluster: this stack belongs to the cluster whose" in refused
        assert "Traceback" not in refused
        assert elsewhere.content() == before
    other.stack.destroy().expect()
