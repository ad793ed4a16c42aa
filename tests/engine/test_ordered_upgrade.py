"""Guards against an upgrade that unloads a module where its old version is still asked for, or leaves the old one for
ever (`container.version`, as the operator documents it)."""

from kmm.names import MODULE_NAME_LABEL, NODE_PREFIX, ROLE_LABEL, ROLE_MODULE_LOADER
from tests.engine.deployment import KERNEL, TAKE_OVER, forget_take_over, lose_state


def loaders(deployment):
    """UID of each loader by the version it loads."""
    label = f"{NODE_PREFIX}version-module.{deployment.namespace}.kmod"
    return {
        one["metadata"]["labels"][label]: one["metadata"]["uid"]
        for one in deployment.list(f"/apis/apps/v1/namespaces/{deployment.namespace}/daemonsets")
        if one["metadata"]["labels"][ROLE_LABEL] == ROLE_MODULE_LOADER
        and one["metadata"]["labels"][MODULE_NAME_LABEL] == "kmod"
    }


def write(deployment, version):
    container = {
        "modprobe": {"moduleName": "kmod"},
        "version": version,
        "kernelMappings": [
            {"regexp": "^.+$", "containerImage": f"registry.example/kmod:{version}-$KERNEL_FULL_VERSION"}
        ],
    }
    deployment.write(plugin=True, moduleLoader={"container": container})


def images(deployment):
    """Image of the loader pod on each node."""
    return {pod["spec"]["nodeName"]: pod["spec"]["containers"][0]["image"] for pod in deployment.pods()}


def test_nodes_move_to_a_new_version_one_by_one_also_when_the_state_is_lost_meanwhile(deployment, tools):
    label = f"{NODE_PREFIX}version-module.{deployment.namespace}.kmod"
    first, second = deployment.nodes.add(KERNEL, count=2)
    for name in (first, second):
        deployment.cluster.nodes.patch(name, {"metadata": {"labels": {label: "1"}}})
    write(deployment, "1")
    deployment.stack.up().expect()
    old = loaders(deployment)
    pods = {pod["metadata"]["uid"] for pod in deployment.pods()}

    write(deployment, "2")
    deployment.stack.up().expect()
    assert loaders(deployment).keys() == {"1", "2"}
    assert loaders(deployment)["1"] == old["1"]
    assert {pod["metadata"]["uid"] for pod in deployment.pods()} == pods
    assert deployment.stack.up().expect().changes == {}

    for version in (None, "2"):
        deployment.cluster.nodes.patch(first, {"metadata": {"labels": {label: version}}})
    deployment.stack.up().expect()
    assert images(deployment) == {
        first: f"registry.example/kmod:2-{KERNEL}",
        second: f"registry.example/kmod:1-{KERNEL}",
    }
    for name in (first, second):
        assert {deployment.ready_label(), f"{deployment.namespace}.kmod.device-plugin-ready"} <= set(
            deployment.labels(name)
        )

    lose_state(deployment, tools)
    pods = {pod["metadata"]["uid"] for pod in deployment.pods()}
    deployment.stack.environment[TAKE_OVER] = "true"
    deployment.stack.up().expect()
    forget_take_over(deployment)
    assert {pod["metadata"]["uid"] for pod in deployment.pods()} == pods

    for version in (None, "2"):
        deployment.cluster.nodes.patch(second, {"metadata": {"labels": {label: version}}})
    deployment.stack.up().expect()
    assert loaders(deployment).keys() == {"2"}
    deployment.stack.destroy().expect()
    assert deployment.daemon_sets() == {}
    assert [deployment.labels(name) for name in (first, second)] == [{label.removeprefix(NODE_PREFIX): "2"}] * 2
