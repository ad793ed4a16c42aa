"""The rule by which Node Feature Discovery labels the nodes whose kernels hold the modules; for `kmm.audit` alone.

No loader selects nodes by these labels: they come up to a minute late, and vanish for a moment when NFD is upgraded,
which would unload. One rule object serves all Modules of a stack, as each object costs time in every run.
"""

from collections.abc import Iterable
from typing import Final

from kmm.definition import Module
from kmm.kernel import sysfs_module_path
from kmm.manifests.common import FIELD_MANAGER, Manifest
from kmm.names import INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NFD_API_VERSION, loaded_label

_TRUE: Final = "true"


def audit_rule(modules: Iterable[Module], owner: str) -> Manifest | None:
    """The NodeFeatureRule of the stack `owner`; None when no Module names its module (`rawArgs`)."""
    rules = [rule for module in modules if (rule := _rule(module)) is not None]
    if not rules:
        return None
    return {
        "apiVersion": NFD_API_VERSION,
        "kind": "NodeFeatureRule",
        "metadata": {
            "name": owner,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, INSTANCE_LABEL: owner},
            "annotations": dict(FIELD_MANAGER),
        },
        "spec": {"rules": rules},
    }


def _rule(module: Module) -> Manifest | None:
    """`kernel.loadedmodule` has the names of /proc/modules: those of /sys/module, without what is built in."""
    name = module.spec.module_loader.container.modprobe.module_name
    if not name:
        return None
    loaded = {sysfs_module_path(name).rpartition("/")[2]: {"op": "Exists"}}
    return {
        "name": f"{module.key} is loaded",
        "labels": {loaded_label(module.metadata.namespace, module.metadata.name): _TRUE},
        "matchFeatures": [{"feature": "kernel.loadedmodule", "matchExpressions": loaded}],
    }
