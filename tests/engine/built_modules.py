"""What tests of images and Jobs share: Modules that are built and signed, and a registry that they push to."""

import base64
from dataclasses import dataclass
from typing import Any

import requests

from tests.engine.deployment import KERNEL, Deployment, Object, eventually
from tests.engine.kubelet import Kubelet
from tools.images import Pusher
from tools.registry import Registry

SIGN = {"keySecret": {"name": "signing-key"}, "certSecret": {"name": "signing-cert"}}
SECRET = "what nobody may be shown"


def encoded(text: str) -> str:
    """A text as a Secret holds it."""
    return base64.b64encode(text.encode()).decode()


_FOR_SIGNING = {"signing-key": {"key": encoded(SECRET)}, "signing-cert": {"cert": encoded("cert")}}


@dataclass
class BuiltModules:
    """Modules of a deployment with images in `registry`; their Jobs run on a node of their own, where the test is
    the kubelet and the builder.
    """

    deployment: Deployment
    kubelet: Kubelet
    registry: Registry

    def __post_init__(self) -> None:
        """Add what the Jobs need."""
        builders = {"kmm.test/builder": self.deployment.namespace}
        self.build = {"dockerfileConfigMap": {"name": "dockerfile"}, "selector": builders}
        self.kubelet.add_nodes("6.0.0-builder", labels=builders)
        self.set_dockerfile("FROM registry.example/base\n")
        for name, data in _FOR_SIGNING.items():
            self.create("secrets", {"metadata": {"name": name}, "data": data})

    def create(self, resource: str, manifest: Object) -> None:
        """Create an object in the Modules' namespace."""
        self.deployment.api.request("POST", f"/api/v1/namespaces/{self.deployment.namespace}/{resource}", manifest)

    def set_dockerfile(self, text: str) -> None:
        """Write the ConfigMap `dockerfile`, which every build takes."""
        path = f"/api/v1/namespaces/{self.deployment.namespace}/configmaps/dockerfile?fieldManager=test&force=true"
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "dockerfile"},
            "data": {"dockerfile": text},
        }
        self.deployment.api.request("PATCH", path, document, {"Content-Type": "application/apply-patch+yaml"})

    def write(self, name: str = "kmod", *, sign: bool = False, **fields: Any) -> None:
        """Write a Module whose image is built, and perhaps signed; `fields` are those of `Deployment.write`."""
        container = {"containerImage": self.image("${KERNEL_FULL_VERSION}", name), "registryTLS": {"insecure": True}}
        signing = {"sign": SIGN} if sign else {}
        own = fields.pop("container", {})
        self.deployment.write(name, container=container | {"build": self.build} | signing | own, **fields)

    def image(self, tag: str = KERNEL, name: str = "kmod") -> str:
        """The image of a Module with this tag."""
        return f"{self.registry.host}/{name}:{tag}"

    def push(self, tag: str = KERNEL, *, index: bool = False) -> str:
        """Push this image of the Module `kmod`, or an index of it, and return the digest."""
        with requests.Session() as session:
            pusher = Pusher(f"http://{self.registry.host}", session)
            return (pusher.push_index if index else pusher.push_image)("kmod", tag)

    def pod(self, job_type: str = "build") -> Object:
        """The pod of the Job of this type, as soon as it is on its node."""
        pods = self.deployment.job_pods
        (pod,) = eventually(lambda: [pod for pod in pods(job_type) if "nodeName" in pod["spec"]])
        return pod

    def make(self, tag: str = KERNEL, job_type: str = "build") -> None:
        """Wait for the Job, push the image, and let the Job end well."""
        pod = self.pod(job_type)
        self.push(tag)
        self.kubelet.complete(pod)
