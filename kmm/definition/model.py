"""The base of all models of a Module file, and what is common to their fields."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

T = TypeVar("T")
# Strictness is about scalars (no number where a text is needed); a YAML sequence is a list, kept as a tuple.
Sequence = Annotated[tuple[T, ...], Field(strict=False)]


def _wire_name(name: str) -> str:
    return to_camel(name).replace("Tls", "TLS").replace("Api", "API")


class Definition(BaseModel):
    """A frozen mapping with known keys only, written in camelCase and read in snake_case.

    `null` and, for optional fields, the empty text mean "not given", as they do to the operator; for those in
    `empty_counts` the empty text is a value.
    """

    empty_counts: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", alias_generator=_wire_name, populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        kept = {
            field.alias for name, field in cls.model_fields.items() if field.is_required() or name in cls.empty_counts
        }
        return {key: value for key, value in given.items() if value is not None and (value != "" or key in kept)}


def field_error(message: str, given: object, *path: str | int) -> ValidationError:
    """An error at `path` below the value being validated (pydantic knows only that value's own place)."""
    # The message goes in as a value: pydantic expands braces in the template.
    error = PydanticCustomError("rule", "{message}", {"message": message})
    return ValidationError.from_exception_data("Module", [InitErrorDetails(type=error, loc=path, input=given)])
