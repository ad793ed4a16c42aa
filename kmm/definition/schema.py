"""The JSON Schema of a Module file, made for editors: without references inside, which not all of them follow well.

It is what a schema can say of the models; rules that look at two fields, at variables or at nodes are `validate`'s.
"""

from collections.abc import Mapping
from typing import Any, Final

from kmm.definition.descriptions import DESCRIPTIONS
from kmm.definition.module import Module
from kmm.names import LIST_KINDS

Schema = dict[str, Any]

_DROPPED: Final = ("$defs", "title")
_NO_DEFAULTS: Final[tuple[object, ...]] = (None, [], {})  # they say no more than that the field may be left out


def _given(field: str) -> Schema:
    """That a field is given; the empty text is not."""
    return {"required": [field], "properties": {field: {"minLength": 1}}}


# What a schema can say of rules that the models check in code, by model or field.
_RULES: Final[Mapping[str, Schema]] = {
    "KernelMapping": {"oneOf": [_given("literal"), _given("regexp")]},
    "ModuleLoaderContainer.kernelMappings": {"minItems": 1},
    "ModuleLoaderContainer": {
        "anyOf": [
            _given("containerImage"),
            {"properties": {"kernelMappings": {"items": _given("containerImage")}}},
        ]
    },
    "Modprobe": {"oneOf": [_given("moduleName"), {"required": ["rawArgs"]}]},
}


def module_schema() -> Schema:
    """The schema of one Module."""
    generated = Module.model_json_schema()
    return _inlined(generated, generated["$defs"])


def file_schema() -> Schema:
    """The schema of each document of a Module file: a Module, or a list of Modules."""
    module = module_schema()
    module["properties"]["status"] = {"description": "Ignored; `kubectl get -o yaml` prints it.", "type": "object"}
    module["properties"]["metadata"]["additionalProperties"] = True  # what the API server adds is ignored, too
    reference = {"$ref": "#/definitions/Module"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Module file of kmm",
        "if": {"required": ["kind"], "properties": {"kind": {"enum": list(LIST_KINDS)}}},
        "then": {"required": ["items"], "properties": {"items": {"type": "array", "items": reference}}},
        "else": reference,
        "definitions": {"Module": module},
    }


def _inlined(schema: Schema, models: Mapping[str, Schema]) -> Schema:
    """A copy with all references replaced by what they refer to; no model refers to itself."""
    if "$ref" in schema:
        model = models[schema["$ref"].removeprefix("#/$defs/")]
        return _inlined(model | {key: value for key, value in schema.items() if key != "$ref"}, models)
    if {"type": "null"} in schema.get("anyOf", ()):
        return _optional(_inlined(schema["anyOf"][0], models))
    copy = {key: value for key, value in schema.items() if key not in _DROPPED and value not in _NO_DEFAULTS}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            copy[key] = _inlined(schema[key], models)
    if "properties" in schema:
        copy["properties"] = {
            name: _described(_inlined(field, models), f"{schema['title']}.{name}")
            for name, field in schema["properties"].items()
        }
        copy |= _RULES.get(schema["title"], {})
    return copy


def _optional(schema: Schema) -> Schema:
    """An empty text means "not given", as it does to the operator."""
    return schema | {"pattern": f"^$|{schema['pattern']}"} if "pattern" in schema else schema


def _described(schema: Schema, field: str) -> Schema:
    description = DESCRIPTIONS.get(field, schema.get("description"))
    rest = {key: value for key, value in schema.items() if key != "description"}
    return ({"description": description} if description else {}) | rest | _RULES.get(field, {})
