"""Guards against outputs that a script can't use: other than plain values, in no order, or slow on large clusters."""

import json
import time

from builders import module, node

from kmm.manifests.loader import loader_name
from kmm.outputs import stack_outputs
from kmm.plan import Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
BUILD = {"dockerfileConfigMap": {"name": "dockerfile"}}


def outputs(*modules, nodes, present=True):
    return stack_outputs(make_plan(modules, nodes, Images(assume_present=present)))


def test_a_kernel_that_is_served_has_its_daemonset():
    own = module(mappings=[{"literal": KERNEL}])
    plan = make_plan([own], [node("b"), node("a"), node("c", "4.18.0")], Images())
    found = stack_outputs(plan)["modules"]["default/kmod"]
    assert found["devicePlugin"] is None
    assert found["kernels"][KERNEL] == {
        "nodes": ["a", "b"],
        "image": f"registry.example/org/kmod:{KERNEL}",
        "daemonSet": loader_name(plan.modules[0].kernels[1].resolved),
        "actions": ["load"],
        "reason": None,
    }
    assert found["kernels"]["4.18.0"] == {
        "nodes": ["c"],
        "image": None,
        "daemonSet": None,
        "actions": [],
        "reason": "no kernel mapping matches",
    }


def test_an_image_that_is_to_be_built_says_so():
    found = outputs(module(container={"build": BUILD}), nodes=[node("a")], present=False)
    assert found["modules"]["default/kmod"]["kernels"][KERNEL]["actions"] == ["build", "load"]


def test_a_device_plugin_is_named():
    plugin = {"container": {"image": "registry.example/plugin:v1"}}
    found = outputs(module(devicePlugin=plugin), nodes=[])
    assert found["modules"]["default/kmod"]["devicePlugin"].startswith("kmod-device-plugin-")


def test_ignored_nodes_come_in_order_with_every_reason():
    nodes = [node("z", taints=["gpu:NoSchedule"]), node("a", cordoned=True)]
    tolerant = module("tolerant", tolerations=[{"key": "gpu", "operator": "Exists"}])
    ignored = outputs(module(), tolerant, nodes=nodes)["ignored"]
    assert list(ignored) == ["a", "z"]
    assert ignored["a"] == ["unschedulable: the node is cordoned"]
    assert ignored["z"] == ["default/kmod: taint gpu:NoSchedule is not tolerated"]


def test_everything_is_plain_json():
    found = outputs(module(), nodes=[node("a"), node("b", cordoned=True)])
    assert json.loads(json.dumps(found)) == found


def test_thousands_of_ignored_nodes_cost_next_to_nothing():
    plan = make_plan([module()], [node(f"node-{number}", cordoned=True) for number in range(5000)], Images())
    started = time.perf_counter()
    assert len(stack_outputs(plan)["ignored"]) == 5000
    assert time.perf_counter() - started < 0.5  # 10 ms; a search for each took seconds
