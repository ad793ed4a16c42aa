"""Fixture `pulumi`: the real program on the real engine, with a stack of the test's own; `deployment` adds Modules."""

import shutil
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from registries import Reply, ScriptedServer

from tests.engine.built_modules import BuiltModules
from tests.engine.deployment import Deployment
from tests.engine.kubelet import Kubelet
from tests.engine.warm_stack import WarmStack
from tools.cluster import Cluster
from tools.registry import Registry
from tools.stack import Stack

_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Whatever is in this folder is an engine test."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def whole_cluster(tools, tmp_path_factory) -> Cluster:
    """A cluster for the tests of the xdist group "whole cluster", of which one worker runs all."""
    with Cluster(tmp_path_factory.mktemp("cluster"), tools) as running:
        yield running


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


@pytest.fixture
def log_server(deployment):
    """Makes a pod's log one that the API server can fetch, as from a kubelet."""
    with ExitStack() as servers:

        def serve(pod, log):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
            server = servers.enter_context(ScriptedServer(lambda _: Reply(body=log.encode()), tls))
            port = int(server.host.partition(":")[2])
            address = {"type": "InternalIP", "address": "127.0.0.1"}
            status = {"addresses": [address], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
            path = f"/api/v1/nodes/{pod['spec']['nodeName']}/status"
            merge = {"Content-Type": "application/merge-patch+json"}
            deployment.api.request("PATCH", path, {"status": status}, merge)

        yield serve
