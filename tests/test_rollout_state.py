"""Guards the wait's state: one that grows with nodes times Modules, and a change that it does not tell from none."""

from dataclasses import replace

import pytest

from kmm.names import ROLE_MODULE_LOADER
from kmm.resources.rollout import RolloutProvider, plain_workloads
from kmm.rollout import Workload

NODES = tuple(f"node-{number}" for number in range(1000))
LOADER = Workload("default/kmod", "default", "kmod", ROLE_MODULE_LOADER, "hash", "label", NODES)


def state(*workloads, settled=True):
    fields, nodes = plain_workloads(workloads)
    return {"workloads": fields, "nodes": nodes, "settled": settled, "unload_report": ""}


def test_nodes_that_many_modules_have_are_held_once():
    many = [replace(LOADER, name=f"kmod-{number}") for number in range(50)]
    held = state(*many, replace(LOADER, name="elsewhere", nodes=("node-1",)))
    assert held["nodes"] == [list(NODES), ["node-1"]]
    assert [one["nodes"] for one in held["workloads"]] == [0] * 50 + [1]


@pytest.mark.parametrize(
    ("changed", "settled", "changes"),
    [
        (LOADER, True, False),
        (LOADER, False, True),
        (replace(LOADER, nodes=NODES[1:]), True, True),
        (replace(LOADER, template_hash="another"), True, True),
        (replace(LOADER, awaited=False), True, True),
    ],
    ids=["nothing", "not settled", "a node less", "another template", "not awaited"],
)
def test_there_is_work_when_something_else_is_wanted_or_not_all_is_as_it_shall_be(changed, settled, changes):
    assert RolloutProvider().diff("id", state(LOADER), state(changed, settled=settled)).changes is changes


def test_a_state_that_held_the_nodes_of_each_workload_is_written_anew():
    former = state(LOADER)
    former["workloads"][0]["nodes"] = list(NODES)
    del former["nodes"]
    assert RolloutProvider().diff("id", former, state(LOADER)).changes


def test_a_wait_for_a_single_loader_leaves_its_labels_to_the_wait_for_all(monkeypatch):
    """Which may have failed in that run before it looked at any pod."""
    monkeypatch.setattr(RolloutProvider, "connect", lambda *_: None)
    RolloutProvider().delete("kmm-1.ready-1a2b", {"leads_destruction": False, "cluster": "of nobody"})
