"""Fixture `pulumi`: the real program on the real engine, with a stack of the test's own; `deployment` adds Modules."""

import shutil
from pathlib import Path

import pytest

from tests.engine.built_modules import BuiltModules
from tests.engine.deployment import Deployment, Kubelet
from tests.engine.warm_stack import WarmStack
from tools.registry import Registry
from tools.stack import Stack

_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Whatever is in this folder is an engine test."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def new_stack(tools, tmp_path_factory) -> Stack:
    """A new stack of this project, for copies: they are there at once."""
    return Stack(tmp_path_factory.mktemp("new") / "stack", tools)


@pytest.fixture
def pulumi(new_stack, tools, cluster, tmp_path) -> WarmStack:
    """A new stack of this project that is configured for the embedded cluster; set `config["kmm:modules"]`."""
    stack = WarmStack(shutil.copytree(new_stack.folder, tmp_path / "stack", symlinks=True), tools)
    stack.config["kmm:kubeconfig"] = str(cluster.kubeconfig)
    return stack


@pytest.fixture
def deployment(pulumi, cluster, namespace, nodes, tmp_path) -> Deployment:
    """The stack `pulumi` with Modules that only this test's nodes and namespace see."""
    return Deployment(pulumi, cluster, namespace, nodes, tmp_path / "modules")


@pytest.fixture
def kubelet(deployment) -> Kubelet:
    """The test as a kubelet, for pods that shall fail, or take their time to end."""
    return Kubelet(deployment)


@pytest.fixture
def registry(tools, tmp_path):
    """An image registry without a password, on plain HTTP."""
    with Registry(tmp_path / "registry", tools) as running:
        yield running


@pytest.fixture
def built(deployment, kubelet, registry) -> BuiltModules:
    """Modules whose images are made by Jobs and come from `registry`."""
    return BuiltModules(deployment, kubelet, registry)
