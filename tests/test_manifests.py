"""Guards against objects that change over releases, that the API server refuses, or that depend on the nodes.

Each folder of `golden/` holds Modules, nodes, and the objects expected for them, to the byte: a changed pod template
unloads and loads the module on every node. `make golden` writes them anew; then read the diff.
"""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from builders import BUILD, WORKER, module, node

from kmm.commands.yaml_text import to_yaml
from kmm.loading import load_modules
from kmm.manifests import manifests
from kmm.names import ROLE_LABEL, ROLE_MODULE_LOADER, UNLOAD_POLICY_ANNOTATION, object_name
from kmm.node_file import load_nodes
from kmm.plan import Images, make_plan

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(folder.name for folder in GOLDEN.iterdir())
KERNEL = "5.14.0-70.el9.x86_64"


def rendered(case):
    modules = load_modules([GOLDEN / case / "module.yaml"]).modules
    return list(manifests(make_plan(modules, load_nodes(GOLDEN / case / "nodes.yaml"), Images())))


def declared(modules, nodes, images=None):
    return list(manifests(make_plan(modules, nodes, images or Images())))


def loaders(modules, nodes):
    return [one for one in declared(modules, nodes) if one["metadata"]["name"].startswith("kmod-5")]


@pytest.mark.parametrize("case", CASES)
def test_the_objects_are_the_golden_ones(case, request):
    expected = GOLDEN / case / "expected.yaml"
    objects = rendered(case)
    text = to_yaml(objects)
    if request.config.getoption("--update-golden"):
        expected.write_text(text)
    assert list(yaml.safe_load_all(expected.read_text())) == objects
    assert expected.read_text() == text


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_the_objects(case, cluster, namespace):
    resources = {
        "ServiceAccount": "api/v1/namespaces/{}/serviceaccounts",
        "DaemonSet": "apis/apps/v1/namespaces/{}/daemonsets",
    }
    for one in rendered(case):
        body = one | {"metadata": one["metadata"] | {"namespace": namespace}}
        path = resources[one["kind"]].format(namespace)
        kept = cluster.api.request("POST", f"/{path}?dryRun=All&fieldValidation=Strict", body)
        assert kept["metadata"]["name"] == one["metadata"]["name"]


def test_objects_begin_with_api_version_and_kind():
    for case in CASES:
        assert all(list(one)[:2] == ["apiVersion", "kind"] for one in rendered(case))


def test_a_node_more_of_a_known_kernel_changes_no_object():
    modules = [module(devicePlugin={"container": {"image": "r.example/plugin:1"}})]
    few = declared(modules, [node("a"), node("b", "6.0.15")])
    assert declared(modules, [node("a"), node("b", "6.0.15"), node("c"), node("d", taints=["x:NoSchedule"])]) == few


def test_a_kernel_more_adds_one_object_and_changes_none():
    few = declared([module()], [node("a")])
    more = declared([module()], [node("a"), node("b", "6.0.15")])
    assert [one for one in more if one not in few] == [one for one in more if "6-0-15" in one["metadata"]["name"]]
    assert len(more) == len(few) + 1


def test_another_module_changes_no_object():
    alone = declared([module()], [node("a")])
    assert [one for one in declared([module(), module("other")], [node("a")]) if one in alone] == alone


def test_the_image_and_the_parameters_are_all_that_their_change_changes():
    before, after = (
        loaders([module(modprobe={"moduleName": "kmod", "parameters": [value]})], [node()])[0]
        for value in ("a=1", "a=2")
    )
    assert before["metadata"]["name"] == after["metadata"]["name"]
    assert before["spec"]["selector"] == after["spec"]["selector"]
    changed = deepcopy(before)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["command"][2] = container["command"][2].replace("a=1", "a=2")
    assert changed["spec"] == after["spec"]


def test_a_loader_is_declared_although_its_image_is_still_to_be_built():
    objects = declared([module(container={"build": BUILD})], [node()], Images(assume_present=False))
    assert [one["kind"] for one in objects] == ["ServiceAccount", "DaemonSet"]


def test_a_module_without_usable_nodes_declares_no_loader_but_its_device_plugin():
    objects = declared([module(devicePlugin={"container": {"image": "r.example/plugin:1"}})], [node(cordoned=True)])
    names = [one["metadata"]["name"] for one in objects if one["kind"] == "DaemonSet"]
    assert names == [object_name("kmod", "device-plugin")]


def test_a_loader_is_never_replaced_by_one_beside_it():
    (loader,) = loaders([module()], [node()])
    assert loader["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0


def test_loaders_run_only_on_nodes_of_their_kernel():
    first, second = loaders([module()], [node("a"), node("b", "5.15.0-custom")])
    selectors = [one["spec"]["template"]["spec"]["nodeSelector"] for one in (first, second)]
    assert selectors == [
        WORKER | {"kmm.node.kubernetes.io/kernel-version.full": kernel} for kernel in (KERNEL, "5.15.0-custom")
    ]


def test_no_pod_of_one_daemon_set_matches_the_selector_of_another():
    modules = [module(name, devicePlugin={"container": {"image": "r.example/plugin:1"}}) for name in ("kmod", "other")]
    sets = [one for one in declared(modules, [node("a"), node("b", "6.0.15")]) if one["kind"] == "DaemonSet"]
    for one in sets:
        selector = one["spec"]["selector"]["matchLabels"].items()
        matched = [other for other in sets if selector <= other["spec"]["template"]["metadata"]["labels"].items()]
        assert matched == [one]


def test_a_named_service_account_is_the_users_own():
    loader = module().spec.module_loader.container.model_dump(by_alias=True, exclude_unset=True)
    own = module(
        moduleLoader={"container": loader, "serviceAccountName": "mine"},
        devicePlugin={"container": {"image": "r.example/plugin:1"}, "serviceAccountName": "mine-too"},
    )
    objects = declared([own], [node()])
    assert [one["kind"] for one in objects] == ["DaemonSet", "DaemonSet"]
    names = [one["spec"]["template"]["spec"]["serviceAccountName"] for one in objects]
    assert names == ["mine", "mine-too"]


def test_a_module_that_is_never_unloaded_has_no_hook_that_would():
    given = module()
    annotations = {UNLOAD_POLICY_ANNOTATION: "Never"}
    metadata = given.metadata.model_copy(update={"annotations": annotations})
    kept = given.model_copy(update={"metadata": metadata})
    declared = [
        one
        for one in manifests(make_plan([kept], [node()], Images()))
        if one["metadata"]["labels"].get(ROLE_LABEL) == ROLE_MODULE_LOADER
    ]
    assert [one["metadata"]["annotations"][UNLOAD_POLICY_ANNOTATION] for one in declared] == ["Never"]
    assert "lifecycle" not in declared[0]["spec"]["template"]["spec"]["containers"][0]
