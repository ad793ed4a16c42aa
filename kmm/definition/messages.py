"""What pydantic found wrong with a Module, in the words users read: the value given and what is allowed."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kmm.definition.kubernetes import Shaped
from kmm.definition.module import Module
from kmm.problems import FieldPath, shown

EXPECTED: Final = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def explain(error: ValidationError) -> list[tuple[FieldPath, str]]:
    """FieldPath and message of each problem of a Module.

    A required key is not called missing where a misspelt key was probably meant for it.
    """
    found: dict[FieldPath, str] = {}
    meant: set[FieldPath] = set()
    details = error.errors(include_url=False)
    for detail in details:
        path = _path(detail)
        if detail["type"] == "extra_forbidden":
            known = sorted(known_keys(Module, path[:-1]))
            suggestion = closest_key(str(path[-1]), known)
            meant.add((*path[:-1], suggestion))
            found[path] = unknown_key(suggestion, known)
    for detail in details:
        path = _path(detail)
        if detail["type"] != "extra_forbidden" and not (detail["type"] == "missing" and path in meant):
            found.setdefault(path, _message(detail))
    return list(found.items())


def unknown_key(suggestion: str, known: Sequence[str]) -> str:
    """What is said of a key that nobody reads; `suggestion` may be empty."""
    if suggestion:
        return f"is not a known key; did you mean {suggestion}?"
    return f"is not a known key; known here are {', '.join(known)}"


def closest_key(key: str, known: Sequence[str]) -> str:
    """That of the known keys which `key` was probably meant for; empty when it is like none."""
    by_lower_case = {name.lower(): name for name in known}
    matches = get_close_matches(key.lower().replace("_", ""), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else ""


def known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Keys that the mapping at `path` of a model may have, in its order."""
    for part in path:
        for field in model.model_fields.values():
            if field.alias == part:
                model = next(_models((field.annotation, *field.metadata)), model)
    return [str(field.alias) for field in model.model_fields.values()]


def _path(detail: ErrorDetails) -> FieldPath:
    path = detail["loc"]
    return path[:-1] if path and path[-1] == "[key]" else path


def _message(detail: ErrorDetails) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in EXPECTED:
        quoting = "; put it in quotes" if kind == "string_type" and isinstance(given, bool | int | float) else ""
        return f"{EXPECTED[kind]}, not {shown(given)}{quoting}"
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        return f"{shown(given)} is not allowed; allowed are {context['expected']}"
    return str(context.get("error") or context.get("message") or detail["msg"])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 (annotations have no common type)
    """The models that an annotation is made of."""
    if isinstance(annotation, Shaped):
        yield annotation.model
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in annotation if isinstance(annotation, tuple) else get_args(annotation):
            yield from _models(part)
