"""Find or install the pinned command-line tools: `python3 -m tools.bootstrap [TOOL…]`.

Needs Python >= 3.11 and nothing else. `tools.json` says what is pinned, which version on PATH fits, and why.
Each tool is taken from the first place that has it:

1. PATH, when its first binary reports a fitting version and its other binaries lie beside it;
2. the cache folder `KMM_CACHE` (default `$XDG_CACHE_HOME/kmm` or `~/.cache/kmm`), filled by an earlier run;
3. the mirror `KMM_TOOLS_MIRROR`, a folder or URL (default `../shared/mirror` beside the checkout, if there);
4. the official download, checked against the checksums published beside it.

A tool's folder appears in the cache by one rename after everything in it was verified, under a lock per tool:
whoever is killed or runs at the same time leaves no half-installed tool behind.
"""

import argparse
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.sources import SourceError, download, is_url, published_checksum, unpack, verify, write_binary

CHECKOUT = Path(__file__).resolve().parent.parent
PINS: Mapping[str, Mapping[str, Any]] = json.loads((CHECKOUT / "tools/tools.json").read_text())
NODE_TOOLS = ("kubelet",)
ENGINE_TOOLS = tuple(name for name in PINS if name not in NODE_TOOLS)
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class BootstrapError(Exception):
    """Tools could not be had; the text names each place that was tried and why it failed."""


@dataclass(frozen=True)
class Toolset:
    """Where the binaries of each tool are: tool name to folder."""

    folders: Mapping[str, Path]

    def binary(self, name: str) -> Path:
        """Return the path of a binary, by its file name (`kube-apiserver`, `pulumi`)."""
        for tool, folder in self.folders.items():
            if name in PINS[tool]["binaries"]:
                return folder / name
        raise KeyError(f"no tool asked for holds {name}")


def cache_folder() -> Path:
    """Return the folder that holds everything installed here."""
    if chosen := os.environ.get("KMM_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kmm"


def mirror_place() -> str | None:
    """Return the mirror's folder or URL, or None when none is set and the default is not there."""
    if chosen := os.environ.get("KMM_TOOLS_MIRROR"):
        return chosen.rstrip("/")
    default = CHECKOUT.parent / "shared/mirror"
    return str(default) if default.is_dir() else None


def ensure(names: Sequence[str] = ENGINE_TOOLS) -> Toolset:
    """Find or install tools, two at a time.

    Raises BootstrapError once, about all tools that could not be had.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = list(pool.map(_ensure_or_explain, names))
    failures = [result for result in results if isinstance(result, str)]
    if failures:
        raise BootstrapError("\n".join(failures))
    return Toolset({name: folder for name, folder in zip(names, results, strict=True) if isinstance(folder, Path)})


def _ensure_or_explain(name: str) -> Path | str:
    try:
        return _on_path(name) or _installed(name)
    except BootstrapError as error:
        return str(error)


def _on_path(name: str) -> Path | None:
    pin = PINS[name]
    first = shutil.which(pin["binaries"][0]) if "on_path" in pin else None
    if first is None:
        return None
    folder = Path(first).resolve().parent
    complete = all(os.access(folder / binary, os.X_OK) for binary in pin["binaries"])
    return folder if complete and _fits(first, pin["on_path"]) else None


def _fits(binary: str, rule: Mapping[str, Any]) -> bool:
    try:
        answer = subprocess.run([binary, *rule["ask"]], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"\d+\.\d+\.\d+", answer.stdout)
    return found is not None and _numbers(rule["from"]) <= _numbers(found[0]) < _numbers(rule["below"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _installed(name: str) -> Path:
    folder = cache_folder() / str(PINS[name]["folder"])
    if not folder.is_dir():
        with _locked(folder):
            if not folder.is_dir():  # another process may have installed it meanwhile
                _install(name, folder)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    locks = cache_folder() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (locks / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise BootstrapError(f"The cache folder cannot be written: {error}. Set KMM_CACHE to one that can.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(name: str, folder: Path) -> None:
    partial = cache_folder() / "partial"
    partial.mkdir(exist_ok=True)
    for leftover in partial.glob(f"{folder.name}-*"):  # of a run that was killed; we hold this tool's lock
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=partial, prefix=f"{folder.name}-") as work:
        ready = Path(work) / "ready"
        _from_first_source(name, ready, Path(work))
        ready.rename(folder)


def _from_first_source(name: str, ready: Path, work: Path) -> None:
    failures = []
    for source in (_from_mirror, _from_official):
        ready.mkdir()
        try:
            return source(name, ready, work)
        except (SourceError, OSError) as error:
            failures.append(str(error))
            _say(f"{name}: {error}")
            shutil.rmtree(ready)
    pin = PINS[name]
    tried = [_path_failure(name), *failures]
    raise BootstrapError("\n".join([f"{name} {pin['version']} could not be had:", *(f"  - {line}" for line in tried)]))


def _path_failure(name: str) -> str:
    rule = PINS[name].get("on_path")
    if rule is None:
        return "PATH: not looked for there, its version cannot be asked"
    first = PINS[name]["binaries"][0]
    return f"PATH: no {first} >= {rule['from']} and < {rule['below']} ({rule['why']})"


def _from_mirror(name: str, ready: Path, work: Path) -> None:
    mirror = mirror_place()
    if mirror is None:
        raise SourceError("mirror: KMM_TOOLS_MIRROR is not set and ../shared/mirror is not there")
    if _platform() != ("linux", "amd64"):
        raise SourceError(f"mirror: {mirror} holds linux/amd64 only, this is {'/'.join(_platform())}")
    pin = PINS[name]
    place = f"{mirror}/{pin['mirror']['archive']}"
    archive = Path(place)
    if is_url(mirror):
        archive = work / "archive"
        _say(f"{name}: downloading {place}")
        download(place, archive)
    elif not archive.is_file():
        raise SourceError(f"mirror: {place} is not there")
    _say(f"{name}: unpacking {place}")
    verify(archive, pin["mirror"]["sha256"], place)
    unpack(archive, pin["binaries"], ready, place)


def _from_official(name: str, ready: Path, work: Path) -> None:
    system, machine = _platform()
    if system != "linux":
        raise SourceError(f"official download: only Linux is covered, this is {system}")
    for item in PINS[name]["official"]:
        arch = item.get("arch", {}).get(machine, machine)
        url = item["url"].format(arch=arch)
        _say(f"{name}: downloading {url}")
        checksum = published_checksum(item["checksums"].format(arch=arch), url.rpartition("/")[2], work)
        archive = work / "official"
        download(url, archive)
        verify(archive, checksum, url)
        if "binary" in item:
            with archive.open("rb") as content:
                write_binary(content, ready / item["binary"])
        else:
            unpack(archive, PINS[name]["binaries"], ready, url)


def _platform() -> tuple[str, str]:
    machine = platform.machine().lower()
    return platform.system().lower(), _ARCHITECTURES.get(machine, machine)


def _say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Install what is named and print each tool's folder."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.bootstrap", description="Find or install pinned tools.")
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"default: all but {', '.join(NODE_TOOLS)}")
    names = parser.parse_args().tools or list(ENGINE_TOOLS)
    if unknown := sorted(set(names) - set(PINS)):
        parser.error(f"unknown tool {', '.join(unknown)}; known: {', '.join(PINS)}")
    try:
        toolset = ensure(names)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    for name, folder in toolset.folders.items():
        print(f"{name}\t{folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
