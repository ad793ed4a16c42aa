"""Guards against an explanation that names the wrong reason, contradicts the plan, or ends in a traceback."""

import json
from dataclasses import replace

import pytest
from builders import SIGN, module, node
from commands import kmm, write_module

from kmm.explanation import Evidence, Verdict, explain, needed_kernels
from kmm.manifests import module_manifests
from kmm.names import INSTANCE_LABEL, KERNEL_LABEL, TEMPLATE_HASH_ANNOTATION, ready_label
from kmm.plan import Images, make_plan
from kmm.workloads import DaemonSet, Pod

KERNEL = "5.14.0-70.el9.x86_64"
IMAGE = f"registry.example/org/kmod:{KERNEL}"
READY_LABEL = ready_label("default", "kmod")
KERNEL_LABELS = {KERNEL_LABEL: KERNEL}


def evidence(own, nodes, *, images=None, pods=(), live=None, **changes):
    """What is read where this Module is deployed; `live` is the Module that is deployed if it is another."""
    plan = make_plan([live or own], nodes, Images()).modules[0]
    daemon_sets = [
        DaemonSet(
            "default",
            manifest["metadata"]["name"],
            labels=manifest["metadata"]["labels"] | {INSTANCE_LABEL: "kmm-1"},
            template_hash=manifest["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION],
            template="1",
        )
        for manifest in module_manifests(plan)
        if manifest["kind"] == "DaemonSet"
    ]
    made = [replace(pod, daemon_set=one.name) for pod, one in zip(pods, daemon_sets, strict=False) if pod is not None]
    return Evidence(nodes, daemon_sets, made, {IMAGE: "sha256:1"} if images is None else images, **changes)


def only(own, found):
    (explanation,) = explain(own, found)
    return explanation


def steps(explanation):
    return {step.topic: step for step in explanation.steps}


def pod(**fields):
    return Pod("default", "kmod-x", "a", "", "default/kmod", template="1", **fields)


def test_a_node_that_has_the_module_passes_every_step():
    own, there = module(), node("a", labels=KERNEL_LABELS | {READY_LABEL: ""})
    found = only(own, evidence(own, [there], pods=[pod(ready=True)]))
    assert found.loaded
    assert found.reason == ""
    assert {step.verdict for step in found.steps} == {Verdict.PASSED}
    assert [step.topic for step in found.steps] == [
        "selector",
        "taints",
        "kernel",
        "kernelMappings[0]",
        "image",
        "kernel label",
        "loader",
        "loader pod",
        "ready label",
    ]
    assert "kmm-1" in steps(found)["loader"].words


@pytest.mark.parametrize(
    ("own", "there", "reason", "remedy"),
    [
        (
            module(selector={"gpu": "a", "zone": "b"}),
            node("a", labels={"zone": "c"}),
            "selector: the node lacks gpu=a, zone=b but has zone=c",
            "kubectl label node a gpu=a zone=b --overwrite",
        ),
        (
            module(container={"version": "2"}),
            node("a"),
            "selector: the node lacks kmm.node.kubernetes.io/version-module.default.kmod=2",
            "kubectl label node a kmm.node.kubernetes.io/version-module.default.kmod=2",
        ),
        (module(), node("a", cordoned=True), "taints: the node is cordoned", "kubectl uncordon a"),
        (module(), node("a", taints=["gpu:NoSchedule"]), "taints: the node is tainted gpu:NoSchedule", "tolerations"),
        (module(), node("a", ""), "kernel: the node's kubelet has not reported a kernel version yet", ""),
        (
            module(mappings=[{"literal": "6.1.0"}]),
            node("a"),
            f"kernelMappings: none takes kernel {KERNEL}",
            "add a mapping",
        ),
        (
            module(container={"containerImage": "registry.example/kmod:${KERNEL_XYZ}"}),
            node("a", "odd"),
            "kernelMappings: registry.example/kmod:${KERNEL_XYZ}: no value for ${KERNEL_XYZ}",
            "",
        ),
    ],
    ids=["selector", "version", "cordon", "taint", "no kernel", "no mapping", "template"],
)
def test_the_first_step_that_fails_is_the_reason(own, there, reason, remedy):
    found = only(own, Evidence([there], (), ()))
    assert not found.loaded
    assert found.reason.startswith(reason)
    assert remedy in next(step for step in found.steps if step.verdict is Verdict.FAILED).remedy


def test_an_explanation_never_contradicts_the_plan():
    nodes = [
        node("a"),
        node("b", cordoned=True),
        node("c", cordoned=True, labels=KERNEL_LABELS),
        node("d", taints=["gpu:NoSchedule"]),
        node("e", "4.18.0"),
        node("f", ""),
    ]
    own = module(mappings=[{"literal": KERNEL}])
    planned = {name for kernel in make_plan([own], nodes, Images()).modules[0].kernels for name in kernel.nodes}
    refused = {"selector", "taints", "kernel"}
    for one in explain(own, Evidence(nodes, (), ())):
        failed = {step.topic for step in one.steps if step.verdict is Verdict.FAILED}
        assert (one.node in planned) == (not failed & refused), one


def test_each_mapping_says_why_it_does_or_does_not_take_the_kernel():
    mappings = [{"literal": "6.1.0"}, {"regexp": "fc37"}, {"regexp": "^5"}, {"literal": KERNEL}, {"regexp": "el8"}]
    own = module(mappings=mappings)
    found = only(own, Evidence([node("a", f"{KERNEL}+")], (), ()))
    said = [(step.verdict, step.words) for step in found.steps if step.topic.startswith("kernelMappings[")]
    assert said == [
        (Verdict.NOTED, "literal 6.1.0 is another kernel"),
        (Verdict.NOTED, "regexp fc37 does not match"),
        (Verdict.PASSED, "regexp ^5 takes it"),
        (Verdict.NOTED, f"literal {KERNEL} would take it, but kernelMappings[2] comes first"),
        (Verdict.NOTED, "regexp el8 does not match"),
    ]


@pytest.mark.parametrize(
    ("container", "images", "verdict", "words"),
    [
        ({}, {IMAGE: "sha256:1"}, Verdict.PASSED, "sha256:1"),
        ({}, {IMAGE: None}, Verdict.FAILED, "push it"),
        ({"build": {"dockerfileConfigMap": {"name": "d"}}}, {IMAGE: None}, Verdict.NOTED, "has it built"),
        ({"sign": SIGN | {"unsignedImage": "r.example/unsigned:1"}}, {IMAGE: None}, Verdict.NOTED, "has it signed"),
        ({"sign": SIGN}, {IMAGE: None}, Verdict.FAILED, "no Job can make it: mapping 0 has nothing to sign"),
        ({}, {}, Verdict.NOTED, "the registry is away"),
    ],
    ids=["there", "absent", "built", "signed", "nothing to sign", "not known"],
)
def test_the_image_is_there_or_made_or_missing(container, images, verdict, words):
    own = module(container=container)
    step = steps(only(own, evidence(own, [node("a")], images=images, unasked="the registry is away")))["image"]
    assert step.verdict is verdict
    assert words in f"{step.words} {step.remedy}"


def test_last_words_come_with_their_meaning():
    own = module()
    crashed = pod(phase="Running", waiting="CrashLoopBackOff", last_words="could not insert 'kmod': Exec format error")
    found = only(own, evidence(own, [node("a", labels=KERNEL_LABELS)], pods=[crashed]))
    assert found.reason.startswith("loader pod: pod kmod-x")
    assert "built for another kernel" in found.reason


def test_what_was_never_deployed_asks_for_up():
    found = steps(only(module(), Evidence([node("a")], (), ())))
    assert found["kernel label"].verdict is Verdict.FAILED
    assert (found["loader"].verdict, found["loader"].remedy) == (Verdict.FAILED, "run `pulumi up`")


def test_another_definition_is_noted():
    own, deployed = module(), module(modprobe={"moduleName": "kmod", "parameters": ["a=1"]})
    found = only(own, evidence(own, [node("a", labels=KERNEL_LABELS)], live=deployed, pods=[pod(ready=True)]))
    assert any(step.topic == "loader" and step.verdict is Verdict.NOTED for step in found.steps)


@pytest.mark.parametrize(
    ("labels", "ready", "verdict", "remedy"),
    [
        ({READY_LABEL: ""}, True, Verdict.PASSED, ""),
        ({}, True, Verdict.NOTED, "puts it on"),
        ({READY_LABEL: ""}, False, Verdict.NOTED, "takes it off"),
        ({}, False, Verdict.PASSED, ""),
    ],
    ids=["both", "not yet labelled", "stale", "neither"],
)
def test_the_ready_label_is_compared_with_the_pod(labels, ready, verdict, remedy):
    own = module()
    found = only(own, evidence(own, [node("a", labels=KERNEL_LABELS | labels)], pods=[pod(ready=ready)]))
    step = steps(found)["ready label"]
    assert step.verdict is verdict
    assert remedy in step.remedy


def test_a_pod_on_a_node_that_is_not_selected_any_more_is_told():
    own, there = module(), node("a", labels=KERNEL_LABELS)
    read = evidence(own, [there], pods=[pod(ready=True)])
    moved = replace(there, labels=KERNEL_LABELS)
    found = only(own, replace(read, nodes=[moved]))
    assert not found.loaded
    assert found.reason.startswith("selector")
    assert "is there still" in steps(found)["loader pod"].words


def test_a_cordoned_node_keeps_what_it_has():
    own, there = module(), node("a", cordoned=True, labels=KERNEL_LABELS | {READY_LABEL: ""})
    found = only(own, evidence(own, [there], pods=[pod(ready=True)]))
    assert found.loaded
    assert (steps(found)["taints"].verdict, found.reason) == (Verdict.NOTED, "")


def test_a_kernel_that_no_label_tells_from_another_one_is_the_reason():
    own, nodes = module(), [node("a", "6.1+"), node("b", "6.1")]
    left, _ = explain(own, evidence(own, nodes, pods=[]))
    assert left.reason == "kernel: kernel 6.1+: its label value 6.1 is also that of kernel 6.1"


def test_a_device_plugin_is_explained_too():
    own = module(devicePlugin={"container": {"image": "registry.example/plugin:v1"}})
    read = evidence(own, [node("a", labels=KERNEL_LABELS)], pods=[pod(ready=True), None])
    assert steps(only(own, read))["device plugin pod"].words == "no pod yet"


def test_images_are_asked_for_selected_nodes_or_for_the_one_that_is_explained():
    own, other = module(), replace(node("b", "6.1.0"), labels={})
    nodes = [node("a"), other]
    assert [one.kernel for one in needed_kernels(own, nodes)] == [KERNEL]
    assert [one.kernel for one in needed_kernels(own, nodes, other)] == ["6.1.0"]
    assert needed_kernels(module(mappings=[{"literal": "1"}]), nodes, other) == ()


class TestCommand:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("kmo", "did you mean kmod"),
            ("defaul/kmod", "did you mean default/kmod"),
            ("nothing-like-it", "default/kmod"),
        ],
    )
    def test_an_unknown_module_suggests_others(self, tmp_path, name, said):
        finished = kmm("explain", name, "--modules", write_module(tmp_path))
        assert (finished.returncode, finished.stdout) == (1, "")
        assert f"there is no Module {name}" in finished.stderr
        assert said in finished.stderr

    def test_wrong_usage_has_its_own_exit_code(self, tmp_path):
        assert kmm("explain").returncode == 2
        assert kmm("explain", "kmod").returncode == 2
        assert kmm("explain", "kmod", "--source", "cluster", "--modules", write_module(tmp_path)).returncode == 2

    def test_a_cluster_that_is_not_there_is_named(self, tmp_path):
        missing = tmp_path / "missing"
        finished = kmm("explain", "kmod", "--modules", write_module(tmp_path), "--kubeconfig", missing)
        assert (finished.returncode, finished.stdout) == (1, "")
        assert str(missing) in finished.stderr
        assert "Traceback" not in finished.stderr


@pytest.mark.engine
class TestOnACluster:
    @pytest.fixture
    def file(self, tmp_path, nodes):
        path = write_module(tmp_path)
        path.write_text(path.read_text().replace("worker: ''", f"kmm.test/name: {nodes.unique}"))
        return path

    def test_an_unknown_node_suggests_others(self, file, cluster, nodes):
        (name,) = nodes.add(KERNEL)
        finished = kmm("explain", "kmod", "--modules", file, "--kubeconfig", cluster.kubeconfig, "--node", f"{name}x")
        assert finished.returncode == 1
        assert f"no node {name}x in the cluster; did you mean {name}" in finished.stderr

    def test_one_node_is_explained_step_by_step_without_its_registry(self, file, cluster, nodes):
        (name,) = nodes.add(KERNEL)
        finished = kmm("explain", "kmod", "--modules", file, "--kubeconfig", cluster.kubeconfig, "--node", name)
        assert finished.returncode == 0, finished.stderr
        assert f"default/kmod is not loaded on node {name}" in finished.stdout
        assert "it is not known whether registry.example" in finished.stdout

    def test_json_has_every_node(self, file, cluster, nodes):
        names = [*nodes.add(KERNEL), *nodes.add(KERNEL, unschedulable=True)]
        options = ["--assume-images", "present", "-o", "json"]
        finished = kmm("explain", "kmod", "--modules", file, "--kubeconfig", cluster.kubeconfig, *options)
        reasons = {one["node"]: one["reason"].partition(":")[0] for one in json.loads(finished.stdout)}
        assert [reasons[name] for name in names] == ["kernel label", "taints"]
