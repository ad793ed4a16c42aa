"""Fixtures on the embedded cluster. Where its tools cannot be had, the tests that need it are left out, loudly."""

import fcntl
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from debian_packages import Debian, PackagesMissingError, leave_out, unpacked
from hypothesis import HealthCheck, settings

from tools.bootstrap import BootstrapError, Toolset, ensure
from tools.cluster import Cluster
from tools.nodes import SimulatedNode
from tools.processes import kill_all

# How long an example takes says how busy the machine is, not whether the code is right. With CI=true examples would be
# the same in each run, were "default" not named.
settings.register_profile(
    "kmm", settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kmm")

# Hundreds of processes import the same modules: none shall compile them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# As many programs in Go end within seconds: collecting garbage costs them more than their memory is worth.
os.environ.setdefault("GOGC", "400")

_NO_ENGINE = pytest.StashKey[str]()
_RUN = "KMM_TEST_RUN"  # in the environment of all that a run starts: the folder that its workers share
_SKIPPED = "the tools of the engine could not be had; the last lines say why"
_NUMBERS = itertools.count(1)


def pytest_addoption(parser):
    """`make golden` writes what golden tests expect instead of comparing with it."""
    parser.addoption("--update-golden", action="store_true", help="write the golden manifests anew")


def pytest_configure(config):
    """Mark what is started from here on; workers are started later."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background, and its programs, ignore it
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing shall stay behind
        os.environ[_RUN] = tempfile.mkdtemp(prefix="kmm-tests-")


@pytest.hookimpl(trylast=True)  # after engine/conftest.py has marked its tests
def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no worker ends long after the others."""
    items.sort(key=lambda item: (item.get_closest_marker("engine") is None, item.path.name != "test_docs.py"))


@pytest.fixture(scope="session")
def debian() -> Debian:
    """Kernel headers and programs of Debian."""
    try:
        return unpacked()
    except PackagesMissingError as error:
        leave_out(str(error))


@pytest.fixture(scope="session")
def tools(request) -> Toolset:
    """All tools but those of the node tier; tests that use them are skipped where none can be had."""
    try:
        return ensure()
    except BootstrapError as error:
        _remember(request.config, str(error))
        pytest.skip(_SKIPPED)


@pytest.fixture(scope="session")
def cluster(tools) -> Cluster:
    """The embedded cluster that all workers share; it ends with the run."""
    folder = Path(os.environ[_RUN])
    running = Cluster(folder / "cluster", tools)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not lock.seek(0, os.SEEK_END):
            running.start()
            lock.write("started")
    return running


@pytest.fixture
def unique(worker_id) -> str:
    """A name that no other test has, fit for a namespace, a label or the start of a node name."""
    return f"t{worker_id.removeprefix('gw')}-{next(_NUMBERS)}"


@pytest.fixture
def namespace(cluster, unique) -> str:
    """A namespace of the test's own, which goes with all it holds when the test ends."""
    cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": unique}})
    yield unique
    cluster.api.request("DELETE", f"/api/v1/namespaces/{unique}")


@dataclass
class OwnNodes:
    """Simulated nodes of one test; Modules select them by `selector`, a label that no other test's nodes have."""

    cluster: Cluster
    unique: str
    names: list[str] = field(default_factory=list)

    @property
    def selector(self) -> dict[str, str]:
        """The label on all of them."""
        return {"kmm.test/name": self.unique}

    def add(self, kernel: str, count: int = 1, **fields: Any) -> list[str]:
        """Add ready nodes with this kernel and return their names; `fields` are those of SimulatedNode."""
        names = [f"{self.unique}-{len(self.names) + index}" for index in range(count)]
        labels = self.selector | fields.pop("labels", {})
        self.cluster.nodes.add(SimulatedNode(name, kernel, labels, **fields) for name in names)
        self.names += names
        return names


@pytest.fixture
def nodes(cluster, unique):
    """Nodes of the test's own; they go when the test ends."""
    own = OwnNodes(cluster, unique)
    yield own
    cluster.nodes.remove(own.names)


def _remember(config: pytest.Config, reason: str) -> None:
    config.stash[_NO_ENGINE] = reason
    if hasattr(config, "workeroutput"):  # a worker of pytest-xdist: its stash is not the controller's
        config.workeroutput["no_engine"] = reason


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Take over a worker's reason."""
    if reason := getattr(node, "workeroutput", {}).get("no_engine"):
        node.config.stash[_NO_ENGINE] = reason


def pytest_sessionfinish(session):
    """In CI a suite without its engine tests is a failure."""
    if _NO_ENGINE in session.config.stash and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config):
    """End what tests left running, and say what was left out in the very last lines, below pytest's own."""
    if hasattr(config, "workeroutput"):
        return
    kill_all(_processes)
    shutil.rmtree(os.environ[_RUN], ignore_errors=True)
    reason = config.stash.get(_NO_ENGINE, None)
    if reason is None:
        return
    skipped = config.pluginmanager.get_plugin("terminalreporter").stats.get("skipped", [])
    count = sum(_SKIPPED in str(report.longrepr) for report in skipped)
    verdict = "That is a failure, because CI=true." if os.environ.get("CI") == "true" else "All others ran."
    print(f"\n{reason}\nLEFT OUT: {count} tests that need the real engine. {verdict}")


def _processes() -> Iterator[int]:
    """What this run started and nobody ended: the cluster, and after Ctrl-C what tests had no time to end."""
    mark = f"{_RUN}={os.environ[_RUN]}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended meanwhile
            if mark in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)
