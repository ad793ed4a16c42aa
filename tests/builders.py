"""Modules and nodes for tests: a small valid one, changed where a test says so."""

from kmm.definition import Module
from kmm.names import API_VERSION, MODULE_KIND
from kmm.nodes import Node, Taint

WORKER = {"node-role.kubernetes.io/worker": ""}
ANY_KERNEL = {"regexp": "^.+$"}
IMAGE = "registry.example/org/kmod:${KERNEL_FULL_VERSION}"
BUILD = {"dockerfileConfigMap": {"name": "dockerfile"}}
SIGN = {"certSecret": {"name": "cert"}, "keySecret": {"name": "key"}}


def module(name="kmod", namespace="default", *, mappings=(ANY_KERNEL,), modprobe=None, container=None, **spec):
    """A Module; `container` and `spec` are in wire form and win over the defaults."""
    loader = {
        "containerImage": IMAGE,
        "modprobe": {"moduleName": "kmod"} if modprobe is None else modprobe,
        "kernelMappings": list(mappings),
        **(container or {}),
    }
    return Module.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": MODULE_KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"moduleLoader": {"container": loader}, "selector": WORKER, **spec},
        }
    )


def node(name="node-1", kernel="5.14.0-70.el9.x86_64", *, labels=None, taints=(), cordoned=False):
    """A worker; taints are written as `kubectl taint` does: `key=value:effect`."""
    return Node(
        name=name,
        uid=f"uid-{name}",
        labels=WORKER | (labels or {}),
        taints=tuple(map(taint, taints)),
        unschedulable=cordoned,
        kernel_version=kernel,
    )


def taint(text):
    """The taint that `kubectl taint` calls `text`."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    return Taint(key, value, effect)
