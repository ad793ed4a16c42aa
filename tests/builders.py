"""Modules, nodes and DaemonSets for tests: small valid ones, changed where a test says so."""

from dataclasses import replace

from kmm.definition import Module
from kmm.names import API_VERSION, INSTANCE_LABEL, MODULE_KIND, TEMPLATE_HASH_ANNOTATION
from kmm.nodes import Node, Taint
from kmm.workloads import DaemonSet

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


def live(manifest, owner="kmm-1", **changes):
    """The DaemonSet that a manifest makes, as the cluster shows it, of the stack `owner`."""
    metadata, pod = manifest["metadata"], manifest["spec"]["template"]["spec"]
    found = DaemonSet(
        namespace=metadata["namespace"],
        name=metadata["name"],
        labels=metadata["labels"] | {INSTANCE_LABEL: owner},
        node_selector=pod["nodeSelector"],
        image=pod["containers"][0]["image"],
        template_hash=metadata["annotations"][TEMPLATE_HASH_ANNOTATION],
    )
    return replace(found, **changes)


def taint(text):
    """The taint that `kubectl taint` calls `text`."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    return Taint(key, value, effect)
