"""The embedded cluster: a real control plane with simulated nodes (kwok), in one folder, without root.

`python -m tools.cluster up` starts it, `down` ends it and removes its folder. kwok manages nodes with the annotation
`kwok.x-k8s.io/node: fake` and no others, so that a real kubelet can join the same control plane.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.api import Api
from tools.bootstrap import CHECKOUT, BootstrapError, Toolset, ensure
from tools.environment import tool_environment
from tools.nodes import Nodes
from tools.processes import kill_all

CLUSTER_TOOLS = ("kwok", "kubernetes-server", "kubectl", "etcd")
_NAME = "embedded"
_COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")
_LEADERS = ("kube-controller-manager", "kube-scheduler")
# kwokctl would take the highest free ports below 32768, as would every other one that starts at the same time.
_PORTS = (
    "etcdPort",
    "etcdPeerPort",
    "kubeApiserverPort",
    "kubeControllerManagerPort",
    "kubeSchedulerPort",
    "kwokControllerPort",
)
_PORT_RANGE = range(10_000, 32_000)  # below the ports that Linux gives to outgoing connections
_READY_SECONDS = 60
_WAIT = ("--wait", f"{_READY_SECONDS}s")
_NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class EmbeddedClusterError(Exception):
    """The embedded cluster could not be started or stopped."""


class Cluster:
    """An embedded cluster that lives in `folder`; a context manager that stops it at the end."""

    def __init__(
        self,
        folder: Path,
        tools: Toolset,
        *,
        certificate_names: Sequence[str] = (),
        arguments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`certificate_names` are more names for the API server.

        `arguments`: more of the components' command line options, by component.
        """
        self.folder = folder.absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self._tools = tools
        self._certificate_names = list(certificate_names)
        self._arguments = arguments or {}

    @cached_property
    def api(self) -> Api:
        """The API server of the running cluster, as cluster-admin."""
        return Api.from_kubeconfig(self.kubeconfig)

    @property
    def nodes(self) -> Nodes:
        """The simulated nodes of the running cluster."""
        return Nodes(self.api)

    def start(self) -> bool:
        """Make the cluster run; return whether it is a new one.

        A cluster that was stopped by a crash or reboot goes on with its data; one that cannot is made anew.
        Raises EmbeddedClusterError with the end of the components' logs.
        """
        if self.is_ready():
            return False
        self._end_processes()
        if self._starts_again():
            return False
        self.stop()
        self._create()
        return True

    def stop(self) -> None:
        """End the cluster's processes and remove its folder; does nothing when it is not there."""
        self._end_processes()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.__dict__.pop("api", None)  # the next start has other ports and certificates

    def is_ready(self) -> bool:
        """Tell whether the API server and every component run."""
        return len(self._processes()) == len(_COMPONENTS) and self.api.is_ready()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.folder / "kwok/clusters" / _NAME

    def _starts_again(self) -> bool:
        if not (self.kubeconfig.is_file() and (self._data / "kwok.yaml").is_file()):
            return False  # its creation was interrupted
        if not self._start_components():
            return False
        self.api.request("DELETE", _NODE_LEASES)  # the former kwok's; the new one has seen them and would wait 50 s
        self._end_processes("kwok-controller")
        return self._start_components()

    def _start_components(self) -> bool:
        """Start those that do not run, again while some gave up waiting for the API server; tell whether all run."""
        deadline = time.monotonic() + _READY_SECONDS
        while not (ready := self.is_ready()) and time.monotonic() < deadline:
            for component in _COMPONENTS:
                if not self._processes(component):
                    self._forget(component)
            self._kwokctl("start", "cluster", *_WAIT)
        return ready

    def _create(self) -> None:
        self.folder.mkdir(parents=True)
        self._config_file.write_text(json.dumps(self._configuration()))
        made = self._kwokctl("create", "cluster", *_WAIT, "--kubeconfig", str(self.kubeconfig))
        if made.returncode != 0 or not self._start_components():
            message = f"The embedded cluster did not start.\n{made.stderr}\n{self._log_ends()}"
            self.stop()
            raise EmbeddedClusterError(message)

    @property
    def _config_file(self) -> Path:
        return self.folder / "kwok.json"

    def _configuration(self) -> dict[str, Any]:
        binary = self._tools.binary
        return {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokctlConfiguration",
            "options": {
                "runtime": "binary",
                "bindAddress": "127.0.0.1",  # kwok's default opens etcd to the network
                **dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)),
                "disableQPSLimits": True,
                "etcdBinary": str(binary("etcd")),
                "kubeApiserverBinary": str(binary("kube-apiserver")),
                "kubeControllerManagerBinary": str(binary("kube-controller-manager")),
                "kubeSchedulerBinary": str(binary("kube-scheduler")),
                "kwokControllerBinary": str(binary("kwok")),
                "kubeApiserverCertSANs": self._certificate_names,
            },
            "componentsPatches": [
                _arguments(
                    "kwok-controller",
                    {"manage-all-nodes": "false", "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake"},
                ),
                # Taints new nodes "not ready"; lifting it again takes the controller 12 s per 1,000 nodes.
                _arguments("kube-apiserver", {"disable-admission-plugins": "TaintNodesByCondition"}),
                # Else a start after a crash waits 17 s for the leases of those that were killed.
                *(_arguments(component, {"leader-elect": "false"}) for component in _LEADERS),
                # For logs of real nodes, whose names no DNS knows.
                _arguments("kube-apiserver", {"kubelet-preferred-address-types": "InternalIP"}),
                *(_arguments(component, values) for component, values in self._arguments.items()),
            ],
        }

    def _kwokctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # HOME: kwokctl would read and write ~/.kwok and ~/.kube of the user.
        environment = tool_environment(self._tools) | {
            "KWOK_WORKDIR": str(self.folder / "kwok"),
            "HOME": str(self.folder),
        }
        return subprocess.run(
            [self._tools.binary("kwokctl"), *arguments, "--name", _NAME, "--config", self._config_file],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def _processes(self, component: str = "") -> list[int]:
        """The components that run: their commands are links in our folder, whatever pid files of a crash say."""
        commands = self._data / "bin" / component
        return [int(entry.name) for entry in Path("/proc").iterdir() if _runs_from(entry, commands)]

    def _end_processes(self, component: str = "") -> None:
        """Kill all, or one, at once: etcd's data survives it, and an orderly end takes the API server many seconds."""
        kill_all(lambda: self._processes(component))
        self._forget(component)

    def _forget(self, component: str) -> None:
        for file in (self._data / "pids").glob(f"{component}*"):
            file.unlink()  # kwokctl would take the number for a running component

    def _log_ends(self) -> str:
        logs = sorted((self._data / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-5:]) for log in logs)


def free_ports(count: int) -> range:
    """A block of free ports, aligned so that two clusters started at once have the same block or none in common.

    No outgoing connection takes them while what listens there is down.
    """
    while True:
        start = random.choice(_PORT_RANGE[::count])
        ports = range(start, start + count)
        if all(_is_free(port) for port in ports):
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def _arguments(component: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {"name": component, "extraArgs": [{"key": key, "value": value} for key, value in values.items()]}


def _runs_from(process: Path, folder: Path) -> bool:
    """Tell whether this entry of /proc is a process whose command is in `folder`."""
    try:
        command = (process / "cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return process.name.isdigit() and Path(os.fsdecode(command)).is_relative_to(folder)


def main() -> int:
    """Start or stop the cluster in the checkout's `.kmm` folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".kmm/cluster", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        cluster = Cluster(arguments.folder, ensure(CLUSTER_TOOLS))
        if arguments.command == "down":
            cluster.stop()
            return 0
        new = cluster.start()
    except (BootstrapError, EmbeddedClusterError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'started' if new else 'running'}; export KUBECONFIG={cluster.kubeconfig}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
