"""What the demo on real nodes deploys: the Module of `stacks/real`, and what its Jobs need."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tools.bootstrap import CHECKOUT, Toolset
from tools.cluster import Cluster
from tools.demo.workplace import Workplace
from tools.real.secure_boot import untrusted_pair

STACK: Final = "real"
SIGNER: Final = "Demo of kmm"
_NAMESPACE: Final = "drivers"
_MODULES: Final = CHECKOUT / "stacks/real"


def workplace(folder: Path, tools: Toolset, cluster: Cluster) -> Workplace:
    """Return the place of the stack's commands, in `folder`; nothing is there yet, or what an earlier run prepared."""
    return Workplace(folder, tools, STACK, cluster)


def prepare(place: Workplace) -> None:
    """Bring stack, Modules and their objects to the demo's first picture."""
    shutil.copytree(_MODULES, place.modules, dirs_exist_ok=True)
    place.prepare(_objects(place.folder))


def _objects(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the Module takes for granted in the cluster, each with the path of its collection in the API."""
    namespace = f"/api/v1/namespaces/{_NAMESPACE}"
    yield "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}}
    dockerfile = (CHECKOUT / "loader-image/Containerfile").read_text()
    yield f"{namespace}/configmaps", {"metadata": {"name": "kmm-sample"}, "data": {"dockerfile": dockerfile}}
    for name, content in untrusted_pair(folder, SIGNER).items():
        data = {name: base64.b64encode(content).decode()}
        yield f"{namespace}/secrets", {"metadata": {"name": f"signing-{name}"}, "data": data}
