"""What is wrong in a user's file: where, what was given, what is allowed."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kmm.errors import KmmError

FieldPath = tuple[str | int, ...]  # keys and list indexes from the top of a document

_PLAIN_KEY: Final = re.compile(r"[\w-]+", re.ASCII)
_LONGEST_VALUE: Final = 80


class Severity(StrEnum):
    """An error stops the program, a warning is shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong at one place; `line` counts from 1 (0: there are no lines), `field` is a dotted path or empty."""

    file: str
    line: int
    field: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        marker = "warning: " if self.severity is Severity.WARNING else ""
        place = f"{self.field}: " if self.field else ""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {place}{marker}{self.message}"


class DefinitionError(KmmError):
    """Module files that cannot be used; `problems` has everything found, warnings too, in order of place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


def field_name(path: FieldPath) -> str:
    """`path` as users read it: `spec.selector["a.b/c"]`, `kernelMappings[1].regexp`."""
    return "".join(map(_step, path)).removeprefix(".")


def _step(part: str | int) -> str:
    if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
        return f".{part}"
    return f"[{part if isinstance(part, int) else shown(part)}]"


def shown(value: object) -> str:
    """A value from a file, as a message shows it: on one line, printable, not too long."""
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
        return repr(text)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return json.dumps(value)
