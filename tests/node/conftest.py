"""Fixtures on real nodes: what a kernel, a kubelet and a container runtime do, nothing simulated.

- `site`: control plane, local registry, network and base images, for the session (`tools.real.site.Site`)
- `cluster`: the site's control plane in the place of the embedded one, so that `namespace` and `unique` work here too
- `kubelet_node`: a kubelet on this machine's kernel; for builds, probes and hooks (`tools.real.kubelet.KubeletNode`)
- `virtual_machine`: a node on Debian's kernel; `run`, `loaded_modules()`, `parameter()` and `kernel_log()` are the
  kernel's own word, without Kubernetes; `site.boot` boots one of `kernels` (`tools.real.virtual_machine`)
- `workloads`: creates objects in the test's namespace and waits for them (`workloads.Workloads`)
- `sample`: a Pulumi stack with Modules of the sample, for the virtual machine (`sample.Sample`)

One image name works everywhere: `tools.real.network.REGISTRY/NAME`, plain HTTP.

`make test-node` starts workers in namespaces of their own (`lane`), each with a site, nodes and a sample of its own.
"""

from pathlib import Path

import pytest
from debian_packages import PackagesMissingError, docker_engine
from sample import Sample
from workloads import Workloads

from tests.conftest import OwnNodes
from tests.engine.deployment import Deployment
from tests.engine.warm_stack import WarmStack
from tools.bootstrap import PINS, BootstrapError, ensure
from tools.cluster import EmbeddedClusterError
from tools.real.network import REGISTRY
from tools.real.packages import RealNodesError, require_root, update_lists
from tools.real.site import Site
from tools.registry import RegistryStartError

_FOLDER = Path(__file__).parent
_LINES = 60  # a trace of the kernel is that long
_REASONS = (BootstrapError, EmbeddedClusterError, PackagesMissingError, RealNodesError, RegistryStartError)


def pytest_sessionstart(session):
    """Fill the cache for workers, which reach no internet."""
    if session.config.getoption("dist") == "no":  # as in the workers themselves
        return
    try:
        site = Site(_all_tools())
        docker_engine()
        update_lists()
        site.start()
        site.stop()
    except _REASONS as error:
        pytest.exit(str(error), returncode=1)


def _all_tools():
    require_root()  # first, for the tools take their time
    return ensure(tuple(PINS))


def pytest_collection_modifyitems(items):
    """Whatever is in this folder needs real nodes.

    Short tests without the virtual machine come last: the worker that has nothing else left takes them from the other.
    """
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.node)
    items.sort(key=lambda item: item.path.is_relative_to(_FOLDER) and "virtual_machine" not in item.fixturenames)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show with a test that fails what the kernel of the virtual machine said last."""
    report = yield
    if report.failed and (machine := item.funcargs.get("virtual_machine")):
        report.sections.append(("Console of the virtual machine", machine.last_words(_LINES)))
    return report


@pytest.fixture(scope="session")
def tools():
    """All tools, the kubelet among them."""
    try:
        return _all_tools()
    except (BootstrapError, RealNodesError) as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def site(tools):
    """Everything but the nodes."""
    site = Site(tools)
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="session")
def cluster(site):
    """The control plane that the real nodes join."""
    return site.cluster


@pytest.fixture(scope="session")
def kubelet_node(site):
    """The node on this machine's kernel, Ready."""
    node = site.start_kubelet_node()
    yield node
    node.stop()


@pytest.fixture(scope="session")
def virtual_machine(site):
    """The node on a kernel of its own, Ready; a test that boots another kernel leaves that running."""
    machine = site.start_virtual_machine()
    yield machine
    machine.power_off()


@pytest.fixture
def workloads(cluster, tools, namespace):
    """Objects in the test's namespace."""
    return Workloads(cluster, tools, namespace)


@pytest.fixture(scope="session")
def samples(site, tools, kubelet_node, virtual_machine, tmp_path_factory):
    """A stack for Modules of the sample, destroyed at the end of the session."""
    namespace, folder = "sample", tmp_path_factory.mktemp("sample")
    site.cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    stack = WarmStack(folder / "stack", tools)
    stack.config["kmm:kubeconfig"] = str(site.cluster.kubeconfig)
    nodes = OwnNodes(site.cluster, namespace, [virtual_machine.name])
    deployment = Deployment(stack, site.cluster, namespace, nodes, folder / "modules")
    yield Sample(deployment, virtual_machine, f"{REGISTRY}/{namespace}")
    stack.destroy().expect()
    assert deployment.is_gone()


@pytest.fixture
def sample(samples, site, virtual_machine):
    """Modules of the sample, none yet: what an earlier test deployed may be there still, on whatever kernel runs."""
    if virtual_machine.secure or not virtual_machine.booted:
        site.boot(virtual_machine, virtual_machine.kernels[0])
    samples.stack.cancel()  # what a test that failed may have killed
    samples.clear()
    samples.begin()
    return samples


@pytest.fixture
def loaded(sample):
    """The sample, loaded; where it was, it keeps its greeting, so that it need not be loaded anew."""
    sample.write(greeting=sample.greeting() if sample.loaded() else "hello")
    sample.up()
    assert sample.loaded()
    sample.begin()
    return sample
