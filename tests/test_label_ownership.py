"""Guards against labels that are never given up, given up too early, or taken for another stack's."""

from dataclasses import replace

import pytest
from builders import node
from hypothesis import given
from hypothesis import strategies as st

from kmm.label_ownership import differing_nodes, field_manager, owned_labels, shares_of_others
from kmm.names import KERNEL_LABEL
from kmm.nodes import LabelChange

OWNER = "kmm-1.kernel"


def owned(name, *managers, value="5.14"):
    """A node whose kernel label these field managers own."""
    return replace(node(name, labels={KERNEL_LABEL: value}), label_owners={KERNEL_LABEL: frozenset(managers)})


def wanted(*names, value="5.14"):
    return {name: {KERNEL_LABEL: value} for name in names}


@pytest.mark.parametrize(
    ("nodes", "names", "manager"),
    [
        ([node("a")], ["a"], 0),
        ([], [], 0),
        ([owned("a", f"{OWNER}.3"), node("b")], ["a", "b"], 3),
        ([owned("a", f"{OWNER}.3"), owned("b", f"{OWNER}.3")], ["a"], 4),
        ([owned("a", f"{OWNER}.3", f"{OWNER}.4"), owned("b", f"{OWNER}.3")], ["a"], 4),
        ([owned("a", f"{OWNER}.3", f"{OWNER}.4")], ["a"], 4),
        ([owned("a", f"{OWNER}.9"), owned("b", f"{OWNER}.10")], [], 11),
        ([owned("a", "kmm-2.kernel.7")], [], 0),
        ([owned("a", "kmm-1.kernels.7", f"{OWNER}.x", f"{OWNER}.")], [], 0),
    ],
    ids=[
        "first run",
        "no nodes",
        "labels are added",
        "a label is taken off",
        "a run was killed before the old labels went",
        "a run was killed after the old labels went",
        "generations are numbers",
        "another stack's are none of ours",
        "names that only look alike are none of ours",
    ],
)
def test_taking_labels_off_starts_a_generation(nodes, names, manager):
    assert field_manager(OWNER, wanted(*names), nodes) == f"{OWNER}.{manager}"


def test_a_label_that_is_only_changed_keeps_its_generation():
    assert field_manager(OWNER, wanted("a", value="6.1"), [owned("a", f"{OWNER}.2")]) == f"{OWNER}.2"


def test_only_this_manager_s_labels_are_its_own():
    mine = owned("a", f"{OWNER}.0", "other")
    assert owned_labels(f"{OWNER}.0", mine) == {KERNEL_LABEL: "5.14"}
    assert owned_labels("nobody", mine) == {}


@pytest.mark.parametrize(
    ("found", "differs"),
    [
        (owned("a", f"{OWNER}.0"), False),
        (owned("a", f"{OWNER}.0", value="4.18"), True),
        (owned("a", "manager"), True),
        (node("a"), True),
    ],
    ids=["as wanted", "another value", "put there by somebody else", "absent"],
)
def test_nodes_differ_when_value_or_owner_does(found, differs):
    assert differing_nodes(f"{OWNER}.0", wanted("a"), [found]) == (["a"] if differs else [])


def test_a_label_that_is_owned_and_not_wanted_differs():
    assert differing_nodes(f"{OWNER}.0", {}, [owned("a", f"{OWNER}.0")]) == ["a"]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 5)), max_size=6),
    st.sets(st.sampled_from("abcdef")),
)
def test_no_generation_that_has_labels_to_give_up_is_taken_again(generations, names):
    nodes = [owned(name, *(f"{OWNER}.{number}" for number in numbers)) for name, numbers in generations.items()]
    number = int(field_manager(OWNER, wanted(*names), nodes).removeprefix(f"{OWNER}."))
    released = [one for name, numbers in generations.items() if name not in names for one in numbers]
    assert all(number > one for one in released)


def test_what_another_stack_owned_of_a_label_is_given_up_and_nothing_of_who_is_no_stack():
    ready, other = "kmm.node.kubernetes.io/default.kmod.ready", "kmm.node.kubernetes.io/default.other.ready"
    stack, another, strangers = "kmm-00000001", "kmm-00000002.ready", ("kubectl", "kmm", "kmm-operator.ready")
    owners = {
        ready: frozenset({f"{stack}.ready", f"{stack}.ready-2", another, *strangers}),
        other: frozenset({another, *strangers}),
    }
    moved = replace(node("a", labels={ready: "", other: ""}), label_owners=owners)
    (found,) = shares_of_others(stack, {ready}, [moved, node("b")]).items()
    assert found == (another, [LabelChange("a", "uid-a", {other: ""})])
