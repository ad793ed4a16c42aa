"""Fixture `cluster` for tests that change what all of a cluster shares: its kinds, and every node of it."""

import pytest


@pytest.fixture(scope="session")
def cluster(whole_cluster):
    """A cluster that no tests use at the same time."""
    return whole_cluster
