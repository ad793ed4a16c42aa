"""What the machine must have for real nodes, and Debian's archive as its own apt is set up to reach it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tools import apt

SUITE: Final = "bookworm"
_COMPONENT: Final = "main"
_CHANGED_BY_UPDATE: Final = Path("/var/lib/apt/lists/partial")
_LISTS_LAST_SECONDS: Final = 3600
FIRMWARE: Final = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
_NEEDED: Final[Mapping[str, str]] = {  # package by program, or by file
    "ip": "iproute2",
    "unshare": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "apt-ftparchive": "apt-utils",
    "mke2fs": "e2fsprogs",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "qemu-system-x86_64": "qemu-system-x86",
    "openssl": "openssl",
    "sbsign": "sbsigntool",
    str(FIRMWARE): "ovmf",
}


class RealNodesError(Exception):
    """Real nodes cannot be had here; says what is missing and what to do."""


def require_root() -> None:
    """Raise RealNodesError unless we are root."""
    if os.geteuid() != 0:
        raise RealNodesError(
            "Real nodes need root: they mount file systems, make a bridge and run containers. "
            "Run the same command with sudo."
        )


def find_programs_of_root() -> None:
    """Add their folders to PATH, which a shell that became root may have kept without them."""
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/sbin"]
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys(folders))


def install_missing_programs() -> None:
    """Install with apt-get what is not there, and say what; nothing is ever removed for it."""
    if not shutil.which("apt-get"):
        raise RealNodesError("Real nodes are made from Debian packages: run it where there is apt-get.")
    missing = {package for name, package in _NEEDED.items() if not (shutil.which(name) or Path(name).is_file())}
    if not missing:
        return
    packages = sorted(missing)
    say(f"installing Debian packages: {' '.join(packages)}")
    install = ("install", "--yes", "--no-install-recommends", "--no-remove", *packages)
    _download("update")
    _download("--download-only", *install)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-qq", *install], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RealNodesError(f"apt-get {' '.join(install)} failed:\n{done.stderr.strip()}")


@dataclass(frozen=True)
class Archive:
    """Debian's archive: lines for sources.list, and the options of apt that reach it (proxies)."""

    sources: tuple[str, ...]
    options: tuple[str, ...]

    def versions(self, packages: Iterable[str]) -> str:
        """Return what apt would install now for `packages`, by name and version; part of the cache's keys."""
        lines = _output("apt-cache", "policy", *packages).splitlines()
        return "\n".join(line.strip() for line in lines if not line.startswith(" ") or "Candidate:" in line)


def update_lists() -> None:
    """Run `apt-get update`: for an hour, `archive` needs no internet."""
    _download("update")


@cache
def archive() -> Archive:
    """Return the archive, by lists that are an hour old at most."""
    if _lists_are_old():
        update_lists()
    targets = _output(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)", "Created-By: Packages"
    )
    sources = tuple(
        f"deb {uri} {codename} {component}"
        for uri, codename, component, origin in sorted({tuple(line.split(" ", 3)) for line in targets.splitlines()})
        if origin == "Debian" and component == _COMPONENT and codename.partition("-")[0] == SUITE
    )
    if not sources:
        raise RealNodesError(f"This machine's apt knows no archive of Debian {SUITE}: add one to its sources.")
    return Archive(sources, _network_options())


def _lists_are_old() -> bool:
    if not _CHANGED_BY_UPDATE.exists():
        return True
    return time.time() - _CHANGED_BY_UPDATE.stat().st_mtime > _LISTS_LAST_SECONDS


def _network_options() -> tuple[str, ...]:
    """Proxies and the like that the machine's apt is told, as `Name "value"`."""
    lines = _output("apt-config", "dump", "--no-empty", "Acquire").splitlines()
    ours = ("Acquire::http::", "Acquire::https::", "Acquire::Retries")
    return tuple(line.removesuffix(";") for line in lines if line.startswith(ours))


def _download(*arguments: str) -> None:
    try:
        apt.download(*arguments)
    except apt.AptError as error:
        raise RealNodesError(str(error)) from error


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def say(text: str) -> None:
    """Tell the user what takes its time."""
    print(f"real nodes: {text}", flush=True)
