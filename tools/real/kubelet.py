"""A kubelet on this machine's own kernel, for builds, probes and hooks; its mounts and processes are apart."""

import subprocess
from pathlib import Path
from typing import Final

from tools.bootstrap import Toolset
from tools.real.network import BRIDGE, FIRST_POD_ADDRESS, GATEWAY, POD_SUBNET
from tools.real.node_root import Node, lay_over
from tools.real.packages import RealNodesError

KUBELET_NODE: Final = "kubelet-node"
_ENTER: Final = Path(__file__).parent / "node/enter"


class KubeletNode:
    """A node in `folder`; its logs are in `folder/log`."""

    def __init__(self, folder: Path, debian: Path, tools: Toolset) -> None:
        """`debian` is the root that it runs from and does not change."""
        self.name = KUBELET_NODE
        self.folder = folder
        self._debian = debian
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, kubeconfig: Path, api_server: str) -> None:
        """Start it; it is up to the caller to wait until it is Ready."""
        node = Node(self.name, GATEWAY, GATEWAY, api_server, BRIDGE, POD_SUBNET, FIRST_POD_ADDRESS)
        lay_over(self.folder / "files", node, kubeconfig, self._tools)
        with (self.folder / "enter.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--uts", "--ipc", "--pid", "--kill-child", _ENTER, self.folder, self._debian],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, script: str) -> str:
        """Run a shell script in the node, beside its pods, and return its output; RealNodesError when it fails."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text()
        namespaces = ("--mount", "--uts", "--ipc", "--pid", "--root", "--wdns=/")
        enter = ["nsenter", f"--target={children.split()[0]}", *namespaces]
        done = subprocess.run([*enter, "sh", "-euc", script], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RealNodesError(f"{script}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def _pid(self) -> int:
        if self._process is None:
            raise RealNodesError(f"{self.name} does not run.")
        return self._process.pid

    def stop(self) -> None:
        """End all its processes, containers among them, at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
