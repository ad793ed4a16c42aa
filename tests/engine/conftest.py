"""Fixture `pulumi`: the real program on the real engine, with a stack of the test's own."""

from pathlib import Path

import pytest

from tools.stack import Stack

_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Whatever is in this folder is an engine test."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.engine)


@pytest.fixture
def pulumi(tools, cluster, tmp_path) -> Stack:
    """A new stack of this project that is configured for the embedded cluster; set `config["kmm:modules"]`."""
    stack = Stack(tmp_path / "stack", tools)
    stack.config["kmm:kubeconfig"] = str(cluster.kubeconfig)
    return stack
