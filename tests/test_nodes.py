"""Guards against planning on wrong facts: a node that is misread, left out, or thought fit for pods when it is not."""

import json
from types import SimpleNamespace

import pytest
import yaml

from kmm.errors import ClusterError, SettingsError
from kmm.names import KERNEL_LABEL
from kmm.node_file import load_nodes
from kmm.node_list import parse_nodes, parse_page
from kmm.nodes import CORDON, Node, Taint, selected, untolerated_taint

GPU = Taint("gpu", "yes", "NoSchedule")
LABEL = "kmm.node.kubernetes.io/kernel-version.full"


def wire_node(name="a", **changes):
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"zone": "x"}},
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {"nodeInfo": {"kernelVersion": "5.14.0-70.el9.x86_64+"}, "images": [{"names": ["x"]}]},
    }
    return node | changes


def wire_list(*nodes, kind="List", **metadata):
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "items": list(nodes)}


LABELLED_WITHOUT_KERNEL = wire_node("b", metadata={"name": "b", "labels": {KERNEL_LABEL: "6.1"}}, status={})


def applied(manager, *keys, operation="Apply"):
    labels = {".": {}} | {f"f:{key}": {} for key in keys}
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:metadata": {"f:labels": labels}}}


def toleration(key=None, operator=None, value=None, effect=None):
    return SimpleNamespace(key=key, operator=operator, value=value, effect=effect)


def test_a_node_keeps_what_the_plan_needs():
    spec = {"unschedulable": True, "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}
    assert parse_nodes(wire_node(spec=spec)) == (
        Node(
            name="a",
            uid="uid-a",
            labels={"zone": "x"},
            taints=(GPU,),
            unschedulable=True,
            kernel_version="5.14.0-70.el9.x86_64+",
        ),
    )


def test_label_owners_are_those_of_server_side_apply_and_of_our_labels_only():
    metadata = {
        "name": "a",
        "managedFields": [
            applied("one", LABEL, "zone"),
            applied("two", LABEL),
            applied("kubectl-label", LABEL, operation="Update"),
            {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ],
    }
    (node,) = parse_nodes(wire_node(metadata=metadata))
    assert node.label_owners == {LABEL: frozenset({"one", "two"})}


@pytest.mark.parametrize(
    "document",
    [
        wire_list(wire_node("b"), wire_node("a")),
        wire_list(wire_node("b"), wire_node("a"), kind="NodeList"),
        json.dumps(wire_list(wire_node("b"), wire_node("a"))).encode(),
    ],
    ids=["List", "NodeList", "JSON bytes"],
)
def test_nodes_come_sorted_by_name(document):
    assert [node.name for node in parse_nodes(document)] == ["a", "b"]


def test_null_stands_for_empty_as_in_go():
    metadata = {"name": "a", "labels": None, "managedFields": None}
    (node,) = parse_nodes(wire_node(metadata=metadata, spec={"taints": None}))
    assert (node.labels, node.taints, node.label_owners) == ({}, (), {})
    assert parse_nodes(wire_list() | {"items": None}) == ()


def test_a_page_carries_its_continue_token():
    page = parse_page(json.dumps(wire_list(wire_node(), kind="NodeList", **{"continue": "next"})).encode())
    assert (len(page.items), page.continue_token) == (1, "next")
    last = parse_page(json.dumps(wire_list(kind="NodeList")).encode())
    assert (last.items, last.continue_token) == ((), "")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(b"<html>", "not JSON", id="HTML"),
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param({}, "an object without kind", id="no kind"),
        pytest.param(None, "got NoneType", id="null"),
        pytest.param({"kind": "PodList", "items": []}, "'PodList'", id="another kind"),
        pytest.param({"kind": "NodeList"}, "items: Field required", id="list without items"),
        pytest.param(wire_list({"kind": "Pod", "metadata": {"name": "p"}}), r"items\[0\].kind \(node p\)", id="a Pod"),
        pytest.param(wire_list(wire_node(), 3), r"items\[1\]: Input should be a mapping", id="a number as node"),
        pytest.param(wire_node(metadata={"name": ""}), r"metadata\.name", id="empty name"),
        pytest.param(wire_node(metadata={"name": "q", "labels": {"x": 1}}), r"labels\.x \(node q\)", id="wrong label"),
        pytest.param(wire_list(wire_node("a"), wire_node("a")), "more than once: node a", id="a node twice"),
        pytest.param(wire_list(LABELLED_WITHOUT_KERNEL), "kernelVersion on node b", id="in use, no kernel version"),
    ],
)
def test_what_is_not_a_list_of_nodes_is_refused_by_name(document, message):
    with pytest.raises(ClusterError, match=message):
        parse_nodes(document)


def test_a_page_that_is_one_node_is_no_list():
    with pytest.raises(ClusterError, match="instead of a NodeList"):
        parse_page(json.dumps(wire_node()).encode())


def test_only_the_first_twenty_problems_are_shown():
    with pytest.raises(ClusterError, match="and 5 more") as error:
        parse_nodes(wire_list(*(wire_node(metadata={}) for _ in range(25))))
    assert str(error.value).count("Field required") == 20


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param({}, True, id="an empty selector takes all"),
        pytest.param({"zone": "x"}, True, id="a pair that is there"),
        pytest.param({"zone": "y"}, False, id="another value"),
        pytest.param({"zone": "x", "disk": ""}, False, id="one pair missing"),
    ],
)
def test_a_selector_wants_every_pair(selector, expected):
    assert selected(Node("a", labels={"zone": "x", "arch": "amd64"}), selector) is expected


@pytest.mark.parametrize(
    ("given", "tolerated"),
    [
        pytest.param(toleration("gpu", "Equal", "yes", "NoSchedule"), True, id="equal"),
        pytest.param(toleration("gpu", None, "yes"), True, id="Equal is the default, no effect means all"),
        pytest.param(toleration("gpu", "", "yes", ""), True, id="empty is not given"),
        pytest.param(toleration("gpu", "Exists"), True, id="exists"),
        pytest.param(toleration(None, "Exists"), True, id="exists without key tolerates all"),
        pytest.param(toleration(None, "Exists", None, "NoExecute"), False, id="all of another effect"),
        pytest.param(toleration("gpu", "Equal", "no"), False, id="another value"),
        pytest.param(toleration("gpu"), False, id="no value"),
        pytest.param(toleration("disk", "Exists"), False, id="another key"),
        pytest.param(toleration("gpu", "Exists", None, "NoExecute"), False, id="another effect"),
        pytest.param(toleration("gpu", "Lt", "yes"), False, id="an operator that is not known"),
    ],
)
def test_tolerations_are_kubernetes_own(given, tolerated):
    assert untolerated_taint(Node("a", taints=(GPU,)), [given]) == (None if tolerated else GPU)


def test_a_taint_without_value_is_tolerated_by_its_key_alone():
    taint = Taint("gpu", "", "NoExecute")
    assert untolerated_taint(Node("a", taints=(taint,)), [toleration("gpu")]) is None


def test_prefer_no_schedule_keeps_nothing_off():
    assert untolerated_taint(Node("a", taints=(Taint("gpu", "", "PreferNoSchedule"),)), []) is None


def test_every_taint_needs_a_toleration():
    taints = (GPU, Taint("maintenance", "", "NoExecute"))
    assert untolerated_taint(Node("a", taints=taints), [toleration("gpu", "Exists")]) == taints[1]


def test_a_cordon_is_a_taint_even_before_the_control_plane_adds_it():
    node = Node("a", unschedulable=True)
    assert untolerated_taint(node, []) == CORDON
    assert untolerated_taint(node, [toleration(CORDON.key, "Exists")]) is None
    assert Node("a", taints=(CORDON,), unschedulable=True).effective_taints == (CORDON,)


@pytest.mark.parametrize(
    ("taint", "text"), [(GPU, "gpu=yes:NoSchedule"), (CORDON, "node.kubernetes.io/unschedulable:NoSchedule")], ids=str
)
def test_a_taint_reads_as_kubectl_writes_it(taint, text):
    assert str(taint) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(wire_list(wire_node("b"), wire_node("a"))), id="JSON"),
        pytest.param(yaml.safe_dump(wire_list(wire_node("b"), wire_node("a"))), id="YAML list"),
        pytest.param(yaml.safe_dump_all([wire_node("b"), wire_node("a")]) + "---\n", id="YAML documents"),
    ],
)
def test_a_file_holds_what_kubectl_prints(tmp_path, text):
    path = tmp_path / "nodes"
    path.write_text(text)
    assert [node.name for node in load_nodes(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "can't be read", id="no file"),
        pytest.param(b"\xff\xfe", "can't be read", id="not UTF-8"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"# only a comment\n", "empty", id="only a comment"),
        pytest.param(b"---\n", "empty", id="only a marker"),
        pytest.param(b"---\nnull\n---\n~\n", "empty", id="null documents"),
        pytest.param(b"a: b: c", "line 1", id="not YAML"),
        pytest.param(b"[" * 100_000, "line 1", id="deep nesting"),
        pytest.param(b"NAME STATUS\na Ready\n", "expected a NodeList", id="kubectl's table"),
        pytest.param(yaml.safe_dump_all([wire_node(), wire_node()]).encode(), "more than once", id="a node twice"),
        pytest.param(json.dumps(LABELLED_WITHOUT_KERNEL).encode(), "kernelVersion on node b", id="no kernel version"),
    ],
)
def test_a_file_that_does_not_serve_is_named_with_the_remedy(tmp_path, content, message):
    path = tmp_path / "nodes.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"nodes\.yaml.*{message}.*kubectl get nodes"):
        load_nodes(path)
