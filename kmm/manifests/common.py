"""What the objects of a Module share."""

import hashlib
import json
from typing import Any, Final

from kmm.definition import Module
from kmm.definition.model import Definition
from kmm.mapping import version_selector
from kmm.names import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODULE_NAME_LABEL,
    TEMPLATE_HASH_ANNOTATION,
    UNLOAD_POLICY_ANNOTATION,
)

Manifest = dict[str, Any]

# For Pulumi's provider: a field manager that is always the same lets a stack that lost its state take its objects over
# again.
FIELD_MANAGER: Final = {"pulumi.com/patchFieldManager": "kmm"}
# A condition that holds at once: whether modules are loaded is not for the provider's DaemonSet check to say, which one
# dead node fails; deletion still waits until the pods are gone.
_DECLARED_IS_READY: Final = FIELD_MANAGER | {"pulumi.com/waitFor": "jsonpath={.metadata.uid}"}

PRIORITY_CLASS: Final = "system-node-critical"


def module_labels(module: Module, own: dict[str, str]) -> dict[str, str]:
    """Labels of an object and of its pods: the Module's name, its version when it has one, and `own`."""
    return {MODULE_NAME_LABEL: module.metadata.name} | version_selector(module) | own


def metadata(
    module: Module, name: str, labels: dict[str, str], annotations: dict[str, str] = _DECLARED_IS_READY
) -> Manifest:
    """`metadata` of an object in the Module's namespace; `annotations` are for Pulumi's provider."""
    return {
        "name": name,
        "namespace": module.metadata.namespace,
        "labels": labels | {MANAGED_BY_LABEL: MANAGED_BY},
        "annotations": dict(annotations),
    }


def daemon_set(module: Module, name: str, labels: dict[str, str], spec: Manifest) -> Manifest:
    """A DaemonSet whose annotation tells a later run, before it writes, whether this template is what runs."""
    template = {"metadata": {"labels": labels} | spec["template"].get("metadata", {}), "spec": spec["template"]["spec"]}
    described = metadata(module, name, labels)
    described["annotations"][TEMPLATE_HASH_ANNOTATION] = digest(template)
    if not module.unloads:
        described["annotations"][UNLOAD_POLICY_ANNOTATION] = "Never"
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": described,
        "spec": {"selector": {"matchLabels": labels}, **spec, "template": template},
    }


def digest(value: object) -> str:
    """Hash of plain values, the same for equal ones: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def service_account(module: Module, name: str) -> Manifest:
    """A ServiceAccount for pods that never talk to the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(module, name, {MODULE_NAME_LABEL: module.metadata.name}),
        "automountServiceAccountToken": False,
    }


def pull_secrets(module: Module) -> Manifest:
    """`imagePullSecrets` of a pod; nothing when the Module names none."""
    secret = module.spec.image_repo_secret
    return {"imagePullSecrets": [{"name": secret.name}]} if secret else {}


def tolerations(module: Module) -> Manifest:
    """`tolerations` of a pod; nothing when the Module has none."""
    given = [wire(toleration) for toleration in module.spec.tolerations]
    return {"tolerations": given} if given else {}


def wire(definition: Definition) -> Manifest:
    """A part of a Module as Kubernetes spells it, with what was given and nothing else."""
    return definition.model_dump(mode="json", by_alias=True, exclude_unset=True)


def host_path(name: str, path: str, kind: str) -> Manifest:
    """A volume of a path on the node; `kind` is the API's `type`, such as `Directory`."""
    return {"name": name, "hostPath": {"path": path, "type": kind}}
