"""What the demo runs on: cluster, registry and Pulumi, all in one folder. What runs already is used as it is."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import requests
import trustme

from tools.bootstrap import Toolset
from tools.cluster import Cluster, free_ports
from tools.demo import sample
from tools.demo.workplace import Workplace
from tools.images import Pusher
from tools.registry import Registry


class LocalRegistry:
    """A registry that outlives the program that started it; it speaks TLS with an authority of its own."""

    def __init__(self, folder: Path, tools: Toolset) -> None:
        self._folder = folder
        self._registry = Registry(folder, tools)
        self._tools = tools
        self.authority = folder / "ca.pem"

    @property
    def host(self) -> str:
        """`ADDRESS:PORT`; the same in every run, for it is part of image names."""
        return self._registry.host

    def start(self) -> None:
        """Make it run. Raises RegistryStartError when it does not, for instance because its port was taken."""
        if self._running():
            return
        address = self.host if self._registry.folder.exists() else f"127.0.0.1:{free_ports(1)[0]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        tls = {"certificate": str(self._folder / "server.pem"), "key": str(self._folder / "server.key")}
        if not self.authority.exists():
            self._write_certificates(tls)
        registry = Registry(self._folder, self._tools, {"http": {"addr": address, "tls": tls}})
        registry.start()
        self._pid_file.write_text(str(registry.pid))

    def stop(self) -> None:
        """End it, when it runs, and wait until it has."""
        if pid := self._running():
            os.kill(pid, signal.SIGTERM)
        while self._running():
            time.sleep(0.05)

    def push(self, images: list[tuple[str, str]]) -> None:
        """Put a tiny image there for each repository and tag."""
        with requests.Session() as session:
            session.verify = str(self.authority)
            session.trust_env = False  # proxies and ~/.netrc
            pusher = Pusher(f"https://{self.host}", session)
            for repository, tag in images:
                pusher.push_image(repository, tag)

    @property
    def _pid_file(self) -> Path:
        return self._folder / "pid"

    def _running(self) -> int | None:
        """The process, when it is still ours: after a reboot the number may be another one's."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return pid if os.fsencode(self._folder / "registry.json") in command else None
        return None

    def _write_certificates(self, tls: dict[str, str]) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(tls["key"])
        certificate.cert_chain_pems[0].write_to_path(tls["certificate"])
        authority.cert_pem.write_to_path(str(self.authority))


@dataclass(frozen=True)
class Demo:
    """The parts of the demo in `folder`."""

    folder: Path
    tools: Toolset

    @cached_property
    def cluster(self) -> Cluster:
        """The embedded cluster."""
        return Cluster(self.folder / "cluster", self.tools)

    @cached_property
    def registry(self) -> LocalRegistry:
        """The registry that holds the sample's images."""
        return LocalRegistry(self.folder / "registry", self.tools)

    @cached_property
    def workplace(self) -> Workplace:
        """Pulumi with the stack; the Modules have this registry in their images."""
        trust = {"SSL_CERT_FILE": str(self.registry.authority)}
        return Workplace(self.folder, self.tools, sample.STACK, self.cluster, trust)

    def start(self) -> None:
        """Start what does not run yet, and bring nodes, images and stack to the demo's first picture."""
        if self.cluster.start():
            self.workplace.engine.forget()  # its state is of a cluster that is gone
        self.registry.start()
        sample.write_modules(self.workplace.modules, self.registry.host)
        self.registry.push(list(sample.images(self.workplace.modules)))
        self._restore_nodes()
        self.workplace.prepare(sample.objects(self.registry.host))

    def _restore_nodes(self) -> None:
        """Add the nodes that are missing, and let the one that moved boot its first kernel."""
        items = self.cluster.api.request("GET", "/api/v1/nodes")["items"]
        kernels = {item["metadata"]["name"]: item["status"]["nodeInfo"]["kernelVersion"] for item in items}
        wanted = list(sample.nodes())
        self.cluster.nodes.add(node for node in wanted if node.name not in kernels)
        for node in wanted:
            if kernels.get(node.name, node.kernel) != node.kernel:
                self.cluster.nodes.set_kernel(node.name, node.kernel)
