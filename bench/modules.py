"""Modules for benches: simple ones, in as many files."""

from pathlib import Path

import yaml

from kmm.names import API_VERSION, MODULE_KIND

NAMESPACE = "bench"


def module_name(number: int) -> str:
    return f"kmod-{number}"


def write_modules(folder: Path, selectors: list[dict[str, str]]) -> None:
    """One Module for each of the selectors, for every kernel."""
    folder.mkdir()
    for number, selector in enumerate(selectors):
        container = {
            "modprobe": {"moduleName": f"kmod_{number}"},
            "containerImage": f"registry.example/kmod-{number}:${{KERNEL_FULL_VERSION}}",
            "kernelMappings": [{"regexp": "^.+$"}],
        }
        module = {
            "apiVersion": API_VERSION,
            "kind": MODULE_KIND,
            "metadata": {"name": module_name(number), "namespace": NAMESPACE},
            "spec": {"moduleLoader": {"container": container}, "selector": selector},
        }
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(module))
