"""Fixture `cluster` for tests that change what all of a cluster shares: its kinds, and every node of it."""

import pytest

from tools.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tools, tmp_path_factory):
    """A cluster that no other tests use; one worker runs all of these."""
    with Cluster(tmp_path_factory.mktemp("cluster"), tools) as running:
        yield running
