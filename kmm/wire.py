"""How the Kubernetes API writes things in JSON, for pydantic.

Fields that a model does not name are skipped while parsing and never become Python objects. That makes lists of
thousands of large objects cheap (`bench/nodes.py`).
"""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUseDefault, from_json

T = TypeVar("T")


class Wire(BaseModel):
    """Base of models that take what they need of an API object and ignore the rest."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


def _default_for_null(value: object) -> object:
    if value is None:
        raise PydanticUseDefault
    return value


# For fields with a default: Go writes an empty list or map as `null`, and so do people in YAML.
Nullable = Annotated[T, BeforeValidator(_default_for_null)]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `continue_token` asks for the next one and is empty on the last."""

    items: tuple[T, ...]
    continue_token: str


def continue_token(beginning: bytes) -> str:
    """The continue token in the first bytes of a page; empty if it is not there (yet)."""
    try:
        page = from_json(beginning, allow_partial=True)
    except ValueError:
        return ""
    match page:
        case {"metadata": {"continue": str(token)}}:
            return token
    return ""
