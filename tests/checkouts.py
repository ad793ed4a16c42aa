"""Copies of this checkout, for tests that act as somebody who types commands in one."""

import shutil
from pathlib import Path

from tools.bootstrap import CHECKOUT

# What git does not have. Compiled modules come along, or each of the many processes would compile them anew; but not
# those that some process is just writing.
_NOT_COPIED = shutil.ignore_patterns(".git", ".kmm", ".venv", ".*_cache", ".hypothesis", "*.pyc.*")


def copy_checkout(target: Path) -> Path:
    """Copy it to `target`, which must not be there yet, and return that; the virtual environment is up to the test."""
    return shutil.copytree(CHECKOUT, target, ignore=_NOT_COPIED)
