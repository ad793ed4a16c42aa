"""The embedded cluster: a real control plane with simulated nodes (kwok), in one folder, without root.

`python -m tools.cluster up` starts it, `down` ends it and removes its folder. kwok manages nodes with the annotation
`kwok.x-k8s.io/node: fake` and no others, so that a real kubelet can join the same control plane.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.api import Api
from tools.bootstrap import CHECKOUT, BootstrapError, Toolset, ensure
from tools.environment import tool_environment
from tools.nodes import Nodes

CLUSTER_TOOLS = ("kwok", "kubernetes-server", "kubectl", "etcd")
_NAME = "embedded"
_READY_WITHIN = "120s"


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
        kwok_documents: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`certificate_names` are more names for the API server; `kwok_documents` more kwok configuration."""
        self.folder = folder.absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self._tools = tools
        self._certificate_names = list(certificate_names)
        self._kwok_documents = list(kwok_documents)

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
        self._forget_dead_processes()
        if self._data.is_dir() and self._kwokctl("start", "cluster", "--wait", _READY_WITHIN).returncode == 0:
            return False
        self.stop()
        self._create()
        return True

    def stop(self) -> None:
        """End the cluster's processes and remove its folder; does nothing when it is not there."""
        self._forget_dead_processes()
        if self._data.is_dir():
            self._kwokctl("delete", "cluster", "--kubeconfig", str(self.kubeconfig))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.__dict__.pop("api", None)  # the next start has other ports and certificates

    def is_ready(self) -> bool:
        """Tell whether the API server and every component run."""
        pids = self._pids()
        return bool(pids) and all(_runs_from(pid, self.folder) for pid in pids.values()) and self.api.is_ready()

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

    def _create(self) -> None:
        self.folder.mkdir(parents=True)
        documents = [self._configuration(), *self._kwok_documents]
        self._config_file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        made = self._kwokctl("create", "cluster", "--wait", _READY_WITHIN, "--kubeconfig", str(self.kubeconfig))
        if made.returncode != 0:
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

    def _pids(self) -> dict[Path, int]:
        return {file: int(file.read_text()) for file in (self._data / "pids").glob("*.pid")}

    def _forget_dead_processes(self) -> None:
        """Remove the pid files of ended processes: after a reboot the number may be another process."""
        for file, pid in self._pids().items():
            if not _runs_from(pid, self.folder):
                file.unlink()

    def _log_ends(self) -> str:
        logs = sorted((self._data / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-5:]) for log in logs)


def _arguments(component: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {"name": component, "extraArgs": [{"key": key, "value": value} for key, value in values.items()]}


def _runs_from(pid: int, folder: Path) -> bool:
    """Tell whether this process was started from `folder` (its command is a link in there)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return Path(os.fsdecode(command)).is_relative_to(folder)


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
