"""The command line as users run it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

GOLDEN = Path(__file__).parent / "golden"
SPECIFICATION = [
    "--modules",
    str(GOLDEN / "specification" / "module.yaml"),
    "--nodes",
    str(GOLDEN / "specification" / "nodes.yaml"),
    "--assume-images",
    "present",
]


def kmm(*arguments, stdin=None, **environment):
    """The finished process of `python -m kmm`, with nothing of the user's own clusters or terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "COLUMNS", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "kmm", *map(str, arguments)],
        input=stdin,
        env=kept | {"PYTHONWARNINGS": "error"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write_module(folder, **container):
    """A Module file with one mapping for every kernel; `container` is merged into the loader's container."""
    loader = {
        "containerImage": "registry.example/org/kmod:${KERNEL_FULL_VERSION}",
        "modprobe": {"moduleName": "kmod"},
        "kernelMappings": [{"regexp": "^.+$"}],
    } | container
    module = {
        "apiVersion": "kmm.sigs.x-k8s.io/v1beta1",
        "kind": "Module",
        "metadata": {"name": "kmod"},
        "spec": {"moduleLoader": {"container": loader}, "selector": {"worker": ""}},
    }
    file = folder / "module.yaml"
    file.write_text(yaml.safe_dump(module))
    return file


def write_nodes(folder, kernels):
    """What `kubectl get nodes -o yaml` prints; `kernels` maps node names to kernel versions."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"worker": ""}},
            "status": {"nodeInfo": {"kernelVersion": kernel}},
        }
        for name, kernel in kernels.items()
    ]
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    return file
