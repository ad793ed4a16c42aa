"""Guards against what only a real API server shows: pages, owners of labels, nodes that come back as ghosts, RBAC."""

from dataclasses import replace

import pytest
import yaml

from kmm.cluster import connect, lists
from kmm.errors import ClusterError
from kmm.names import NODE_PREFIX
from kmm.nodes import LabelChange
from tests.engine.accounts import Account

LABEL = f"{NODE_PREFIX}test"
OTHER_LABEL = f"{NODE_PREFIX}other"


@pytest.fixture
def kmm(cluster):
    return connect(str(cluster.kubeconfig))


@pytest.fixture
def own(kmm, nodes):
    """The test's nodes as they are now."""

    def read():
        return {node.name: node for node in kmm.nodes() if node.name in nodes.names}

    return read


def change(node, **labels):
    return LabelChange(node.name, node.uid, labels)


@pytest.fixture
def restricted(cluster, namespace, tmp_path):
    """Connects as a ServiceAccount that may do `verbs` with nodes and nothing else."""
    made = []

    def connect_with(*verbs):
        rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": verbs}] if verbs else []
        made.append(Account(cluster, namespace, "kmm", rules))
        return connect(made[-1].write_kubeconfig(tmp_path / "restricted"))

    yield connect_with
    for account in made:
        account.forget()


def test_a_list_in_pages_is_whole(nodes, own, monkeypatch):
    names = nodes.add("5.14.0-70.el9.x86_64+", 7, labels={"zone": "x"})
    monkeypatch.setattr(lists, "_PAGE_SIZE", 2)
    found = own()
    assert sorted(found) == sorted(names)
    assert {node.kernel_version for node in found.values()} == {"5.14.0-70.el9.x86_64+"}
    assert all(node.uid and node.labels["zone"] == "x" for node in found.values())


def test_a_cordon_and_taints_are_seen(nodes, own):
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    (name,) = nodes.add("5.14", taints=(taint,), unschedulable=True)
    node = own()[name]
    assert node.unschedulable
    assert "gpu=yes:NoSchedule" in map(str, node.taints)


def test_the_identity_is_that_of_kube_system(cluster, kmm):
    namespace = cluster.api.request("GET", "/api/v1/namespaces/kube-system")
    assert kmm.identity() == namespace["metadata"]["uid"]


def test_labels_are_applied_and_given_up(nodes, own, kmm):
    nodes.add("5.14", 2)
    first, second = own().values()
    assert kmm.apply_node_labels([change(first, **{LABEL: "1", OTHER_LABEL: ""})], "kmm") == ()
    assert own()[first.name].label_owners == {LABEL: {"kmm"}, OTHER_LABEL: {"kmm"}}
    assert own()[second.name].label_owners == {}

    kmm.apply_node_labels([change(first, **{LABEL: "2"})], "kmm")
    assert (own()[first.name].labels[LABEL], OTHER_LABEL in own()[first.name].labels) == ("2", False)

    kmm.apply_node_labels([change(first)], "kmm")
    assert not {LABEL, OTHER_LABEL} & own()[first.name].labels.keys()


def test_a_label_stays_while_another_manager_owns_it(nodes, own, kmm):
    nodes.add("5.14")
    (node,) = own().values()
    for manager in ("one", "two"):
        kmm.apply_node_labels([change(node, **{LABEL: "1"})], manager)
    assert own()[node.name].label_owners == {LABEL: {"one", "two"}}
    kmm.apply_node_labels([change(node)], "one")
    assert own()[node.name].labels[LABEL] == "1"
    kmm.apply_node_labels([change(node)], "two")
    assert LABEL not in own()[node.name].labels


def test_a_value_changed_by_hand_is_taken_over_and_seen_as_not_ours_before(cluster, nodes, own, kmm):
    nodes.add("5.14")
    (node,) = own().values()
    kmm.apply_node_labels([change(node, **{LABEL: "1"})], "kmm")
    cluster.nodes.patch(node.name, {"metadata": {"labels": {LABEL: "by-hand"}}})
    assert own()[node.name].label_owners == {}
    kmm.apply_node_labels([change(node, **{LABEL: "1"})], "kmm")
    assert own()[node.name].labels[LABEL] == "1"


@pytest.mark.parametrize("labels", [{LABEL: "1"}, {}], ids=["apply", "give up"])
def test_a_node_that_is_gone_is_never_made_again(cluster, nodes, own, kmm, labels):
    nodes.add("5.14", 2)
    gone, there = own().values()
    cluster.nodes.remove([gone.name])
    changes = [change(gone, **labels), change(there, **labels)]
    assert kmm.apply_node_labels(changes, "kmm") == (gone.name,)
    assert set(own()) == {there.name}
    assert own()[there.name].label_owners == {key: {"kmm"} for key in labels}


def test_a_node_that_came_again_under_its_name_is_left_alone(nodes, own, kmm):
    nodes.add("5.14")
    (node,) = own().values()
    before = replace(node, uid="00000000-0000-4000-8000-000000000000")
    assert kmm.apply_node_labels([change(before, **{LABEL: "1"})], "kmm") == (node.name,)
    assert LABEL not in own()[node.name].labels


def test_a_label_that_is_none_fails_with_the_node_and_the_server_s_words(nodes, own, kmm):
    nodes.add("5.14", 2)
    first, second = own().values()
    changes = [change(first, **{LABEL: "not a value"}), change(second, **{LABEL: "1"})]
    with pytest.raises(ClusterError, match=rf"(?s)1 of 2 nodes.*{first.name}: .*a valid label must be"):
        kmm.apply_node_labels(changes, "kmm")
    assert own()[second.name].labels[LABEL] == "1"


class TestRights:
    def test_a_missing_right_names_the_user_the_verb_and_the_resource(self, restricted, namespace):
        kmm = restricted()
        user = f"system:serviceaccount:{namespace}:kmm"
        with pytest.raises(
            ClusterError, match=rf'403: .*"{user}" cannot list resource "nodes".*give this user the verb'
        ):
            kmm.nodes()
        with pytest.raises(ClusterError, match='cannot get resource "namespaces"'):
            kmm.identity()

    def test_labelling_needs_list_and_patch_and_no_more(self, cluster, nodes, own, restricted):
        nodes.add("5.14", 2)
        gone, there = own().values()
        cluster.nodes.remove([gone.name])
        kmm = restricted("list", "patch")
        changes = [change(gone, **{LABEL: "1"}), change(there, **{LABEL: "1"})]
        assert kmm.apply_node_labels(changes, "kmm") == (gone.name,)
        assert own()[there.name].labels[LABEL] == "1"

    def test_reading_without_patch_cannot_label(self, nodes, own, restricted):
        nodes.add("5.14")
        (node,) = own().values()
        kmm = restricted("list")
        with pytest.raises(ClusterError, match=r'(?s)1 of 1 nodes.*cannot patch resource "nodes"'):
            kmm.apply_node_labels([change(node, **{LABEL: "1"})], "kmm")

    def test_credentials_that_are_not_accepted_say_so(self, cluster, tmp_path):
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": "old"}
        path = tmp_path / "expired"
        path.write_text(yaml.safe_dump(config))
        with pytest.raises(ClusterError, match="401: Unauthorized; these credentials are not accepted"):
            connect(str(path)).nodes()
