"""Lengths of time as users write them: `1h`, `90m`, `1h30m`, `45s`."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

from kmm.problems import shown

_DURATION: Final = re.compile(r"(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?", re.ASCII)
_LONGEST: Final = timedelta(days=7)


def parse_duration(text: object) -> timedelta:
    """The duration that a text in Go's form means: hours, minutes and seconds, whole numbers only.

    Raises ValueError for anything else, for nothing at all and for more than a week.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not text:
        raise ValueError(f"{shown(text)} is not a duration: write hours, minutes and seconds, as in 1h, 90m or 1h30m")
    # Longer numbers are far above the limit, and more than timedelta can hold.
    parts = {unit: int(number[:9]) for unit, number in match.groupdict(default="0").items()}
    duration = timedelta(**parts)
    if not timedelta() < duration <= _LONGEST:
        raise ValueError(f"{shown(text)} is out of range: it must be more than 0s and at most 168h")
    return duration


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
