"""The sample of `loader-image/` as a Module of the real program, and what the virtual machine's kernel says of it."""

import base64
import itertools
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from commands import kmm

from tests.engine.deployment import Deployment, Object
from tools.bootstrap import CHECKOUT
from tools.real.images import BUILDER_IMAGE, DEBIAN_IMAGE, DEVICE_PLUGIN_IMAGE, SAMPLE_SOURCE_IMAGE, SIGNER_IMAGE
from tools.real.kubelet import KUBELET_NODE
from tools.real.virtual_machine import VIRTUAL_MACHINE, VirtualMachine
from tools.stack import Result, Stack

_CHAPTERS = itertools.count(1)
MODULES = {"kmm_sample", "kmm_sample_base"}
SIGNER = "Kernel modules of the tests"

_BUILDERS = {"kubernetes.io/hostname": KUBELET_NODE}
_WORDS = re.compile(r'kmm_sample: (?:loaded, greeting "(.*)"|(unloaded))')
_IMAGES_IN_USE = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/rootfs"


@dataclass
class Sample:
    """Modules of a deployment that all load `kmm_sample` on the virtual machine, in images that Jobs make."""

    deployment: Deployment
    machine: VirtualMachine
    repository: str

    def __post_init__(self) -> None:
        """Add what the Jobs need."""
        self.stack.config |= {
            "kmm:build": {"image": BUILDER_IMAGE, "nodeSelector": _BUILDERS},
            "kmm:sign": {"image": SIGNER_IMAGE, "nodeSelector": _BUILDERS},
            "kmm:rollout": {"timeout": "3m"},
        }
        dockerfile = (CHECKOUT / "loader-image/Containerfile").read_text()
        self._create("configmaps", "sample", {"dockerfile": dockerfile})
        folder = self.deployment.folder.parent
        for name, content in signing_pair(folder).items():
            self._create("secrets", f"signing-{name}", {name: base64.b64encode(content).decode()})

    def begin(self) -> None:
        """Begin a new chapter of the kernel's log."""
        self._chapter = f"chapter {next(_CHAPTERS)}."
        self.machine.run(f"echo '{self._chapter}' >/dev/kmsg")

    def clear(self) -> None:
        """Take all Modules out of the definition; they stay deployed until the next `up`."""
        for file in self.deployment.folder.glob("*"):
            file.unlink()

    @property
    def stack(self) -> Stack:
        """The stack that the Modules are deployed by."""
        return self.deployment.stack

    def up(self, exit_code: int = 0) -> Result:
        """Run `pulumi up`; AssertionError when it ends otherwise."""
        return self.stack.up(timeout=600).expect(exit_code)

    def write_idle(self) -> None:
        """Write a Module that is for no node: a stack needs one."""
        self.deployment.write("idle", selector={"kmm.test/name": "none"})

    def write(
        self,
        name: str = "sample",
        *,
        greeting: str = "hello",
        sign: bool = True,
        plugin: bool = False,
        annotations: Object | None = None,
        image_of: dict[str, str] | None = None,
    ) -> None:
        """Write a Module of this name; `greeting` is the parameter by which the kernel tells loads apart.

        `image_of`: the tags of single kernels, where they are not the kernel's release.
        """
        container = {
            "containerImage": f"{self.repository}:${{KERNEL_FULL_VERSION}}",
            "registryTLS": {"insecure": True},
            "build": {
                "dockerfileConfigMap": {"name": "sample"},
                "buildArgs": [
                    {"name": "BASE_IMAGE", "value": DEBIAN_IMAGE},
                    {"name": "SOURCE_IMAGE", "value": SAMPLE_SOURCE_IMAGE},
                ],
                "baseImageRegistryTLS": {"insecure": True},
            },
            "kernelMappings": [
                *(
                    {"literal": kernel, "containerImage": f"{self.repository}:{tag}"}
                    for kernel, tag in (image_of or {}).items()
                ),
                {"regexp": "^.+$"},
            ],
        }
        if sign:
            container["sign"] = {"keySecret": {"name": "signing-key"}, "certSecret": {"name": "signing-cert"}}
        device_plugin = {"image": DEVICE_PLUGIN_IMAGE, "env": [{"name": "RESOURCE", "value": self.resource}]}
        self.deployment.write(
            name,
            container=container,
            modprobe={
                "moduleName": "kmm_sample",
                "parameters": [f"greeting={greeting}"],
                "firmwarePath": "/firmware",
            },
            annotations=annotations,
            selector={"kubernetes.io/hostname": VIRTUAL_MACHINE},
            **({"devicePlugin": {"container": device_plugin}} if plugin else {}),
        )

    @property
    def resource(self) -> str:
        """The resource of the Module's device plugin."""
        return f"kmm.example.com/{self.deployment.namespace}"

    def loaded(self) -> bool:
        """Tell whether both modules are in the kernel; neither may be alone."""
        found = MODULES & self.machine.loaded_modules()
        assert found in (set(), MODULES)
        return bool(found)

    def greeting(self) -> str:
        """The parameter that the loaded module has."""
        return self.machine.parameter("kmm_sample", "greeting")

    def kernel_words(self) -> list[str]:
        """What the module told the kernel's log in this chapter: greetings as it was loaded, and `unloaded`."""
        chapter = self.machine.kernel_log().rpartition(self._chapter)[2]
        return [greeting or unloaded for greeting, unloaded in _WORDS.findall(chapter)]

    def signers(self) -> set[str]:
        """Who signed the module files in the images of running containers."""
        files = f"{_IMAGES_IN_USE}/opt/lib/modules/*/kmm_sample*.ko"
        return set(self.machine.run(f"for file in {files}; do modinfo -F signer $file; done").splitlines())

    @contextmanager
    def open_device(self) -> Iterator[None]:
        """Hold the module in the kernel, by a process that has its device open."""
        process = self.machine.agent.start("sh", "-c", "exec sleep infinity </dev/kmm_sample")
        try:
            yield
        finally:
            self.machine.run(f"kill {process}")

    def labels(self) -> set[str]:
        """The keys of this project's labels on the node."""
        return set(self.deployment.labels(VIRTUAL_MACHINE))

    def allocatable(self) -> dict[str, str]:
        """What the node offers."""
        node = self.deployment.api.request("GET", f"/api/v1/nodes/{VIRTUAL_MACHINE}")
        allocatable: dict[str, str] = node["status"]["allocatable"]
        return allocatable

    def tags(self) -> set[str]:
        """The tags in the repository of the Modules' image."""
        host, _, repository = self.repository.partition("/")
        answer = urllib3.request("GET", f"http://{host}/v2/{repository}/tags/list")
        return set(answer.json().get("tags", []))

    def kmm(self, command: str, *arguments: Any, code: int = 0) -> str:
        """The output of one of our commands about the Modules; AssertionError when it ends with another code."""
        modules = ("--modules", self.deployment.folder)
        done = kmm(command, *arguments, *modules, "--kubeconfig", self.deployment.cluster.kubeconfig)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def _create(self, resource: str, name: str, data: dict[str, str]) -> None:
        path = f"/api/v1/namespaces/{self.deployment.namespace}/{resource}"
        self.deployment.api.request("POST", path, {"metadata": {"name": name}, "data": data})


def signing_pair(folder: Path) -> dict[str, bytes]:
    """A key and its certificate, which names SIGNER; PEM."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={SIGNER}"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return {"key": key.read_bytes(), "cert": certificate.read_bytes()}
