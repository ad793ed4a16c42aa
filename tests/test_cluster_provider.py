"""Guards against a resource that is made anew by force (`--replace`, `state taint`) and takes its labels off then.

And against one that lets what it depends on be deleted in another cluster.
"""

import sys

import pytest
from pulumi.dynamic import Config, ConfigureRequest

from kmm.errors import ClusterError
from kmm.resources.cluster_guard import ClusterGuardProvider
from kmm.resources.departures import DeparturesProvider
from kmm.resources.node_labels import NodeLabelsProvider
from kmm.resources.rollout import RolloutProvider

PROPS = {"manager": "kmm-1.kernel.0", "cluster": "uid", "nodes": {}, "leaving": {}}


@pytest.fixture(params=[NodeLabelsProvider, DeparturesProvider], ids=lambda provider: provider.__name__)
def provider(request, monkeypatch):
    """A provider whose cluster cannot be had: whatever it would do to nodes ends with a ClusterError."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # `configure` sets it for its process
    provider = request.param()
    provider.configure(ConfigureRequest(Config({"kmm:kubeconfig": "nowhere"}, "kmm")))
    return provider


def test_what_is_made_anew_in_the_same_run_keeps_its_labels(provider):
    created = provider.create(dict(PROPS))
    provider.delete(created.id, dict(PROPS))


@pytest.mark.parametrize("made", [[], ["kmm-1.kernel.1"]], ids=["destroyed", "replaced by another generation"])
def test_what_goes_gives_its_labels_up(provider, made):
    for manager in made:
        provider.create(PROPS | {"manager": manager})
    with pytest.raises(ClusterError, match="no such file"):
        provider.delete(PROPS["manager"], dict(PROPS))


@pytest.mark.parametrize("provider", [ClusterGuardProvider, RolloutProvider], indirect=True)
def test_what_has_nothing_to_take_away_looks_at_the_cluster_all_the_same(provider):
    with pytest.raises(ClusterError, match="no such file"):
        provider.delete("id", PROPS | {"leads_destruction": False})
