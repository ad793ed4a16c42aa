"""Guards against imports that point upward, and against Pulumi, the network or a terminal in the pure core.

The layers are those of the docstring of `kmm/__init__.py`: one line each, lowest first.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kmm

PACKAGE = Path(kmm.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
LAYERS = [re.split(", ", line) for line in re.findall(r"^- ([a-z_, ]+):", kmm.__doc__, re.MULTILINE)]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# Which packages beyond the standard library there are, and who may import them.
ANYWHERE = {"pydantic", "pydantic_core"}
ALLOWED = {
    "pulumi": {"program", "resources"},
    "pulumi_kubernetes": {"program", "resources"},
    "kubernetes": {"cluster"},
    "urllib3": {"cluster", "registry_errors", "registry_http"},
    "requests": {"registry", "registry_errors", "registry_http"},
    "backports": {"image_layers"},  # zstd, before Python 3.14 has it
    "compression": {"image_layers"},  # standard library from 3.14 on
    "oras": {"registry", "registry_http"},
    "typer": {"commands", "__main__"},
    "rich": {"commands"},
    "yaml": {"cluster", "commands", "documents"},
    "re2": {"definition"},
}
CORE = ["kmm.plan", "kmm.manifests", "kmm.loading", "kmm.node_file"]


def part(module):
    """The file or package directly below `kmm` that a module belongs to."""
    return module.split(".")[1] if "." in module else "kmm"


def imports(path):
    """Full names of what a file imports, wherever in it; `from kmm import x` counts as `kmm.x`."""
    for statement in ast.walk(ast.parse(path.read_text())):
        match statement:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="kmm", names=names):
                yield from (f"kmm.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module


def test_every_module_has_a_layer():
    unlisted = {part(module) for module in MODULES if module != "kmm"} - {*LEVELS, "__main__"}
    assert unlisted == set(), "name them in the docstring of kmm/__init__.py, above all that they import"


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in LEVELS])
def test_nothing_imports_upward(module):
    own = LEVELS[part(module)]
    upward = {
        name for name in imports(MODULES[module]) if name.startswith("kmm.") and LEVELS.get(part(name), own) > own
    }
    assert not upward


@pytest.mark.parametrize("module", MODULES)
def test_packages_stay_where_they_belong(module):
    packages = {name.partition(".")[0] for name in imports(MODULES[module])}
    foreign = packages - sys.stdlib_module_names - ANYWHERE - {"kmm"}
    assert {package for package in foreign if part(module) not in ALLOWED.get(package, set())} == set()


def loaded_by(*modules):
    """All that is in memory after these were imported."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", CORE)
def test_the_core_runs_without_pulumi_or_a_network(module):
    assert not {"pulumi", "kubernetes", "oras", "requests", "urllib3", "typer", "rich"} & loaded_by(module)


def test_help_loads_nothing_heavy():
    loaded = loaded_by("kmm.__main__")
    assert not {"pulumi", "kubernetes", "oras", "requests", "pydantic", "yaml", "re2"} & loaded


def test_providers_load_only_what_they_need_when_nothing_changes():
    providers = ("cluster_guard", "departures", "node_labels", "rollout")
    loaded = loaded_by(*(f"kmm.resources.{provider}" for provider in providers))
    assert not {"kubernetes", "oras", "requests", "pydantic", "re2"} & loaded
