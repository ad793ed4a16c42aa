"""Folders that are expensive to make, kept in the cache under a key of what they are made from."""

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from tools.bootstrap import cache_folder
from tools.real.packages import say


def cached(name: str, inputs: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of `name` made from `inputs`; `make` fills a new one, which replaces older ones of that name.

    A run that is killed leaves no half-made folder; runs at the same time wait for each other.
    """
    store = cache_folder() / "real" / name
    store.mkdir(parents=True, exist_ok=True)
    folder = store / hashlib.sha256(inputs.encode()).hexdigest()[:16]
    with (store / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            for old in store.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            say(f"making {name}, to be kept in {store}")
            partial = store / "partial"
            partial.mkdir()
            make(partial)
            partial.rename(folder)
    return folder
