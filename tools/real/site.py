"""Real nodes with all they need: the embedded control plane, the local registry with base images, the network."""

import fcntl
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import urlsplit

import yaml

from kmm.nodes import LOST
from tools.api import ApiError
from tools.bootstrap import CHECKOUT, Toolset
from tools.cluster import Cluster
from tools.real import images, leftovers, network
from tools.real.kubelet import KubeletNode
from tools.real.network import HOST_SEEN_FROM_VM, REGISTRY
from tools.real.node_root import debian_root
from tools.real.packages import RealNodesError, find_programs_of_root, install_missing_programs, require_root
from tools.real.virtual_machine import VirtualMachine
from tools.registry import Registry

FOLDER: Final = CHECKOUT / ".kmm/real"
CLUSTER_FOLDER: Final = FOLDER / "cluster"
AGENT: Final = FOLDER / "vm/agent.sock"
_LOCK: Final = Path("/run/kmm-real-nodes.lock")
# About as Kubernetes itself; kwok lets a node be silent for minutes.
_LOST_AFTER: Final = {"node-monitor-period": "5s", "node-monitor-grace-period": "40s"}
_READY_WITHIN_SECONDS: Final = 180
_ON_THE_DISK: Final = (images.DEBIAN_IMAGE, images.DEVICE_PLUGIN_IMAGE)


class Site:
    """One per network namespace, since it has one bridge; everything of it is in FOLDER."""

    def __init__(self, tools: Toolset) -> None:
        """`tools` are all tools, the kubelet among them."""
        self._tools = tools
        arguments = {"kube-controller-manager": _LOST_AFTER}
        self.cluster = Cluster(CLUSTER_FOLDER, tools, certificate_names=[HOST_SEEN_FROM_VM], arguments=arguments)
        self.registry = Registry(FOLDER / "registry", tools, {"http": {"addr": REGISTRY}})

    def start(self) -> None:
        """Start all but the nodes; what an earlier run left is removed first.

        Raises RealNodesError, also when another run on this machine goes on; nothing is left then.
        """
        require_root()
        find_programs_of_root()
        install_missing_programs()
        self._lock = _locked()
        with ExitStack() as undo:
            undo.callback(self.stop)
            _remove_leftovers(self._lock, self._tools)
            self._lock.write(str(FOLDER))
            self._lock.flush()
            FOLDER.mkdir(parents=True)
            network.up(FOLDER)
            self.cluster.start()
            self.registry.start()
            images.provide(self._debian, FOLDER)
            undo.pop_all()

    def stop(self) -> None:
        """End and remove everything."""
        self.registry.stop()
        leftovers.remove(FOLDER, self._tools)
        self._lock.truncate(0)
        self._lock.close()

    def start_kubelet_node(self) -> KubeletNode:
        """Start the kubelet on this machine and wait until its node is Ready."""
        node = KubeletNode(FOLDER / "kubelet", self._debian, self._tools)
        node.start(self.cluster.kubeconfig, self._api_server)
        self.wait_until_ready(node.name)
        return node

    def start_virtual_machine(self) -> VirtualMachine:
        """Make the VM, boot its oldest kernel and wait until its node is Ready."""
        machine = VirtualMachine(FOLDER / "vm", self._debian, self._tools)
        machine.make_disk(self.cluster.kubeconfig, urlsplit(self._api_server).port or 443, _ON_THE_DISK)
        self.boot(machine, machine.kernels[0])
        return machine

    def boot(self, machine: VirtualMachine, kernel: str, *, secure: bool = False) -> None:
        """Power the VM on with one of its kernels and wait until the node is Ready in this very boot.

        One that runs is shut down before. `secure`: with Secure Boot.
        """
        if machine.booted:
            machine.shut_down()
        machine.power_on(kernel, secure=secure)
        self.wait_until_ready(machine.name, machine.boot_id)

    def wait_until_ready(self, node: str, boot_id: str = "") -> None:
        """Wait until a node is Ready, in the boot `boot_id` if given: a dead node looks Ready for a while."""
        wait_until(lambda: self._is_ready(node, boot_id), f"node {node} is Ready", _READY_WITHIN_SECONDS)

    @cached_property
    def _debian(self) -> Path:
        return debian_root()

    @property
    def _api_server(self) -> str:
        server: str = yaml.safe_load(self.cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        return server

    def _is_ready(self, node: str, boot_id: str) -> bool:
        try:
            found = self.cluster.api.request("GET", f"/api/v1/nodes/{node}")
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        status, taints = found["status"], {taint["key"] for taint in found["spec"].get("taints", [])}
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status["conditions"]
        )
        lost = not taints.isdisjoint(LOST)  # for some seconds after the node is Ready
        return ready and not lost and boot_id in ("", status["nodeInfo"]["bootID"])


def remove_leftovers(tools: Toolset) -> None:
    """Remove what an earlier run on this machine left. Raises RealNodesError, also when one goes on."""
    require_root()
    find_programs_of_root()
    with _locked() as lock:
        _remove_leftovers(lock, tools)


def anything_left() -> bool:
    """Tell whether an earlier run on this machine may have left something."""
    return FOLDER.exists() or (_LOCK.exists() and _LOCK.stat().st_size > 0)


def _remove_leftovers(lock: TextIO, tools: Toolset) -> None:
    """The lock's file names the folder of the last run, which may have been of another checkout."""
    lock.seek(0)
    last = Path(lock.read() or FOLDER)
    if last != FOLDER and last.exists() and leftovers.alive(last):
        checkout = last.parent.parent
        raise RealNodesError(
            f"Real nodes of {checkout} run on this machine, which has one bridge for them. To end them:\n"
            f"  cd {checkout} && sudo .venv/bin/python -m tools.real down"
        )
    for folder in {FOLDER, last}:
        leftovers.remove(folder, tools)
        _remove_lanes(folder.parent / "lanes")
    lock.truncate(0)


def _remove_lanes(lanes: Path) -> None:
    """Remove the folders of workers in namespaces of their own (tests/node/lane), which end with all they started."""
    for folder in lanes.glob("*/real"):
        leftovers.remove_cgroups(folder)
    if lanes.exists():
        shutil.rmtree(lanes)


def _locked() -> TextIO:
    lock = _LOCK.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise RealNodesError("Another run has real nodes on this machine: wait until it has ended.") from None
    return lock


def wait_until(holds: Callable[[], bool], what: str, within_seconds: float) -> None:
    """Wait until `holds()`. Raises RealNodesError that names `what` when time runs out."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RealNodesError(f"Not within {within_seconds:g} s: {what}.")
        time.sleep(0.5)
