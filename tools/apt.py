"""What apt downloads: it may wait without end for an archive that stands still."""

import subprocess
from pathlib import Path
from typing import Final

_WITHIN_SECONDS: Final = 300
_TRIES: Final = 3


class AptError(Exception):
    """Debian's packages cannot be had; says what apt was to do, and its reason."""


def download(*arguments: str, cwd: Path | None = None) -> None:
    """Run `apt-get` with `arguments` that only download; it is ended and tried again when it takes too long.

    Raises AptError.
    """
    words = f"apt-get {' '.join(arguments)}"
    for _ in range(_TRIES):
        try:
            done = subprocess.run(
                ["apt-get", "-qq", *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=_WITHIN_SECONDS,
                cwd=cwd,
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode != 0:
            raise AptError(f"{words} failed:\n{done.stderr.strip()}")
        return
    raise AptError(f"{words}: not done within {_WITHIN_SECONDS} s, {_TRIES} times. Is Debian's archive reachable?")
