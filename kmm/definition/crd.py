"""The CustomResourceDefinition of Module: the operator's names and version, so that either may have installed it.

The schema is structural, as the API server wants it (apiextensions.k8s.io/v1). It has no defaults: what is not given
stays away from the stored object, and the program fills it in.
"""

from typing import Any, Final

from kmm.definition.schema import Schema, module_schema
from kmm.names import API_GROUP, API_VERSION, MODULE_KIND

_NOT_STRUCTURAL: Final = ("additionalProperties", "anyOf", "default", "oneOf")
_DAEMON_SET_STATUS: Final = {
    "availableNumber": "Pods that are available.",
    "desiredNumber": "Pods that there should be.",
    "nodesMatchingSelectorNumber": "Nodes that the Module selects.",
}


def custom_resource_definition() -> dict[str, Any]:
    """The manifest that `kubectl apply` takes."""
    version = {
        "name": API_VERSION.rpartition("/")[2],
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": _object_schema()},
    }
    plural = f"{MODULE_KIND.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{API_GROUP}"},
        "spec": {
            "group": API_GROUP,
            "names": {
                "kind": MODULE_KIND,
                "listKind": f"{MODULE_KIND}List",
                "plural": plural,
                "singular": MODULE_KIND.lower(),
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _object_schema() -> Schema:
    module = _structural(module_schema())
    spec = module["properties"]["spec"]
    container = spec["properties"]["moduleLoader"]["properties"]["container"]
    _add_rules(container)
    return {
        "description": module["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(),
        },
    }


def _structural(schema: Schema) -> Schema:
    copy = {key: value for key, value in schema.items() if key not in _NOT_STRUCTURAL}
    if "type" not in schema:
        copy["x-kubernetes-int-or-string"] = True
    if schema.get("additionalProperties") is True:
        copy["x-kubernetes-preserve-unknown-fields"] = True
    elif schema.get("additionalProperties"):
        copy["additionalProperties"] = _structural(schema["additionalProperties"])
    if "items" in schema:
        copy["items"] = _structural(schema["items"])
    if "properties" in schema:
        copy["properties"] = {name: _structural(field) for name, field in schema["properties"].items()}
    if "const" in schema:
        copy["enum"] = [copy.pop("const")]
    return copy


def _add_rules(container: Schema) -> None:
    """Rules between fields, in CEL, whose messages say more than those of `oneOf`. An empty text is not given."""
    mappings, modprobe = (container["properties"][name] for name in ("kernelMappings", "modprobe"))
    _add_rule(
        mappings["items"], f"{_given('literal')} != {_given('regexp')}", "needs exactly one of literal and regexp"
    )
    _add_rule(
        container,
        f"{_given('containerImage')} || self.kernelMappings.all(mapping, {_given('containerImage', 'mapping')})",
        "needs containerImage, here or in each of kernelMappings",
    )
    raw = "(has(self.rawArgs) && has(self.rawArgs.{0}) && size(self.rawArgs.{0}) > 0)"
    load, unload = raw.format("load"), raw.format("unload")
    _add_rule(
        modprobe,
        f"{_given('moduleName')} ? !({load} || {unload}) : ({load} && {unload})",
        "needs either moduleName, or rawArgs with both load and unload",
    )


def _add_rule(schema: Schema, rule: str, message: str) -> None:
    schema["x-kubernetes-validations"] = [{"rule": rule, "message": message}]


def _given(field: str, owner: str = "self") -> str:
    return f"(has({owner}.{field}) && {owner}.{field} != '')"


def _status() -> Schema:
    numbers = {
        name: {"description": description, "type": "integer", "format": "int32"}
        for name, description in _DAEMON_SET_STATUS.items()
    }
    daemon_set = {"type": "object", "properties": numbers}
    return {
        "description": "Written by the operator only; `python -m kmm status` reads the cluster itself.",
        "type": "object",
        "properties": {
            "moduleLoader": {"description": "DaemonSets that load the kernel module."} | daemon_set,
            "devicePlugin": {"description": "DaemonSet of the device plugin."} | daemon_set,
        },
    }
