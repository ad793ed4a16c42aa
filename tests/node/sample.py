"""The sample of `loader-image/` as a Module of the real program, and what the virtual machine's kernel says of it."""

import base64
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from commands import kmm

from tests.engine.deployment import Deployment, Object
from tools.bootstrap import CHECKOUT
from tools.real.images import BUILDER_IMAGE, DEBIAN_IMAGE, DEVICE_PLUGIN_IMAGE, SAMPLE_SOURCE_IMAGE, SIGNER_IMAGE
from tools.real.kubelet import KUBELET_NODE
from tools.real.secure_boot import trusted_pair, untrusted_pair
from tools.real.virtual_machine import VIRTUAL_MACHINE, VirtualMachine
from tools.stack import Result, Stack

_CHAPTERS = itertools.count(1)
MODULES = {"kmm_sample", "kmm_sample_base"}
SIGNER = "Kernel modules of the tests"
OURS, TRUSTED = "ours", "trusted"  # whose key signs: one that no kernel knows, and the firmware's

_BUILD = {
    "dockerfileConfigMap": {"name": "sample"},
    "buildArgs": [
        {"name": "BASE_IMAGE", "value": DEBIAN_IMAGE},
        {"name": "SOURCE_IMAGE", "value": SAMPLE_SOURCE_IMAGE},
    ],
    "baseImageRegistryTLS": {"insecure": True},
}
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
        for owner, pair in {
            OURS: untrusted_pair(self.deployment.folder.parent, SIGNER),
            TRUSTED: trusted_pair(),
        }.items():
            for name, content in pair.items():
                self._create("secrets", f"{owner}-{name}", {name: base64.b64encode(content).decode()})

    def begin(self) -> None:
        """Begin a new chapter of the kernel's log."""
        self._chapter = f"chapter {next(_CHAPTERS)}."
        self.machine.run(f"echo '{self._chapter}' >/dev/kmsg")
        self._earlier_failures = {event["metadata"]["uid"] for event in self._failed_hooks()}

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
        plugin: bool = False,
        annotations: Object | None = None,
        image_of: dict[str, str] | None = None,
        key: str = OURS,
        unsigned: str | None = None,
    ) -> None:
        """Write a Module of this name; `greeting` is the parameter by which the kernel tells loads apart.

        `image_of`: the tags of single kernels, where they are not the kernel's release. `key`: who signs. `unsigned`:
        the tag of an image that is signed, instead of one that is built.
        """
        container = {
            "containerImage": f"{self.repository}:${{KERNEL_FULL_VERSION}}",
            "registryTLS": {"insecure": True},
            "sign": {"keySecret": {"name": f"{key}-key"}, "certSecret": {"name": f"{key}-cert"}},
            "kernelMappings": [
                *(
                    {"literal": kernel, "containerImage": f"{self.repository}:{tag}"}
                    for kernel, tag in (image_of or {}).items()
                ),
                {"regexp": "^.+$"},
            ],
        }
        if unsigned:
            unsigned_image = {"unsignedImage": f"{self.repository}:{unsigned}"}
            container["sign"] |= unsigned_image | {"unsignedImageRegistryTLS": {"insecure": True}}
        else:
            container["build"] = _BUILD
        device_plugin = {"image": DEVICE_PLUGIN_IMAGE, "env": [{"name": "RESOURCE", "value": self.resource}]}
        self.written_greeting = greeting
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

    def change(self) -> None:
        """Write the Module with another greeting than that of the loaded one."""
        self.write(greeting="changed" if self.greeting() != "changed" else "changed again")

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

    def failed_hooks(self) -> list[str]:
        """What the kubelet says of preStop hooks that failed, or were cut short, in this chapter."""
        return [one["message"] for one in self._failed_hooks() if one["metadata"]["uid"] not in self._earlier_failures]

    def firmware(self) -> set[str]:
        """The files in the node's folder for firmware."""
        return set(self.machine.run("ls /var/lib/firmware").split())

    def taint(self) -> str:
        """Why the loaded module taints the kernel: `O` out of tree, `E` without a signature that it trusts."""
        return self.machine.run("cat /sys/module/kmm_sample/taint").strip()

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
        allocatable: dict[str, str] = self._node()["status"]["allocatable"]
        return allocatable

    def is_short_of_disk(self) -> bool:
        """Tell whether the node has the taint of one whose disk is too full."""
        return any(
            taint["key"] == "node.kubernetes.io/disk-pressure" for taint in self._node()["spec"].get("taints", [])
        )

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

    def _node(self) -> Object:
        node: Object = self.deployment.api.request("GET", f"/api/v1/nodes/{VIRTUAL_MACHINE}")
        return node

    def _failed_hooks(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.deployment.namespace}/events?fieldSelector=reason%3DFailedPreStopHook"
        return self.deployment.list(path)

    def _create(self, resource: str, name: str, data: dict[str, str]) -> None:
        path = f"/api/v1/namespaces/{self.deployment.namespace}/{resource}"
        self.deployment.api.request("POST", path, {"metadata": {"name": name}, "data": data})
