"""Debian packages unpacked into the tools' cache, not installed: compiling a kernel module needs no root."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tools import apt
from tools.bootstrap import cache_folder

COMPILER = ("apt-get", "dpkg", "gcc", "make", "openssl")
KERNEL_PACKAGES = ("linux-headers-cloud-{arch}", "linux-headers-6.12-cloud-{arch}")
TOOLS = ("busybox", "kmod", "skopeo", "umoci", "xz-utils", "zstd")
DOCKER = ("docker.io",)


class PackagesMissingError(Exception):
    """Debian's packages, or the programs to use them, cannot be had here; says which and why."""


def leave_out(reason: str) -> NoReturn:
    """Skip, or fail where everything has to run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Debian:
    """Packages below `root`: kernel headers, `sign-file`, and of tools what the machine lacks."""

    root: Path

    def release(self, series: str) -> str:
        """Return the kernel release (`uname -r`) of a series such as 6.1."""
        for headers in self.root.glob(f"usr/src/linux-headers-{series}.*-cloud-*"):
            return headers.name.removeprefix("linux-headers-")
        raise PackagesMissingError(f"this Debian has no headers of a {series} kernel")

    def which(self, program: str) -> str | None:
        """Return the path of a program."""
        return shutil.which(program, path=self.environment["PATH"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the unpacked programs run."""
        programs = [f"{self.root}{folder}" for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")]
        libraries = [str(folder) for folder in self.root.glob("**/lib/*-linux-gnu")]
        return {
            "PATH": ":".join([*programs, os.environ["PATH"], "/usr/sbin", "/sbin"]),
            "LD_LIBRARY_PATH": ":".join(libraries),
            "HOME": f"{self.root}/home",
        }


def unpacked() -> Debian:
    """What compiles and signs, downloaded and unpacked on the first use. Raises PackagesMissingError."""
    for program in COMPILER:
        if not shutil.which(program):
            raise PackagesMissingError(f"compiling the sample needs {', '.join(COMPILER)}: no {program} here")
    return _cached("debian", lambda downloads: [*_header_packages(downloads), *_tool_packages(downloads, TOOLS)])


def docker_engine() -> Debian:
    """Docker, in the same way. Raises PackagesMissingError."""
    return _cached("debian-docker", lambda downloads: _tool_packages(downloads, DOCKER))


def _cached(name: str, packages: Callable[[Path], list[str]]) -> Debian:
    root = cache_folder() / name
    root.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "ready").exists():
            _unpack(root, packages)
    return Debian(root)


def _unpack(root: Path, packages: Callable[[Path], list[str]]) -> None:
    shutil.rmtree(root)
    downloads = root / "downloads"
    (downloads / "lists/partial").mkdir(parents=True)
    (downloads / "archives/partial").mkdir(parents=True)
    _download(downloads, "update")
    if wanted := packages(downloads):
        _download(downloads, "download", *wanted)
    for package in downloads.glob("*.deb"):
        _run(downloads, "dpkg", "-x", str(package), str(root))
    shutil.rmtree(downloads)
    _make_movable(root)
    (root / "ready").touch()


def _header_packages(downloads: Path) -> list[str]:
    arch = _run(downloads, "dpkg", "--print-architecture").strip()
    packages = [name.format(arch=arch) for name in KERNEL_PACKAGES]
    depends = _run(downloads, "apt-cache", "depends", "--recurse", "--important", *packages).split()
    return sorted({name for name in depends if name.startswith(("linux-headers-", "linux-kbuild-"))})


def _tool_packages(downloads: Path, tools: tuple[str, ...]) -> list[str]:
    """Return tools and what they depend on, without what is installed; lines are `'URL' NAME_VERSION.deb …`."""
    uris = _run(downloads, "apt-get", "install", "--print-uris", "-qq", "--no-install-recommends", *tools)
    return [line.split()[1].partition("_")[0] for line in uris.splitlines()]


def _make_movable(root: Path) -> None:
    """Undo what the packages take for granted: that they lie in `/`."""
    for link in root.rglob("*"):
        if link.is_symlink() and link.readlink().is_absolute():
            target = root / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)
    for makefile in root.glob("usr/src/linux-headers-*-cloud-*/Makefile"):
        makefile.write_text(makefile.read_text().replace("/usr/src/", f"{root}/usr/src/"))
    for sign_file in root.glob("usr/lib/linux-kbuild-*/scripts/sign-file"):
        shutil.copy(sign_file, root / "usr/bin/sign-file")
    policy = root / "home/.config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))


def _download(downloads: Path, *arguments: str) -> None:
    try:
        apt.download(*_apt_options(downloads), *arguments, cwd=downloads)
    except apt.AptError as error:
        raise PackagesMissingError(f"Debian's packages cannot be had: {error}") from error


def _run(downloads: Path, program: str, *arguments: str) -> str:
    """Run in `downloads`."""
    command = [program, *(_apt_options(downloads) if program.startswith("apt-") else ()), *arguments]
    done = subprocess.run(command, check=False, cwd=downloads, capture_output=True, text=True)
    if done.returncode:
        words = " ".join([program, *arguments])
        raise PackagesMissingError(f"Debian's packages cannot be had: {words}: {done.stderr.strip()}")
    return done.stdout


def _apt_options(downloads: Path) -> list[str]:
    """For lists and archives of its own, which need no root."""
    options = (
        f"Dir::State::Lists={downloads}/lists",
        f"Dir::Cache={downloads}",
        "Debug::NoLocking=true",
        "APT::Sandbox::User=",
        "Acquire::http::Timeout=20",
    )
    return [f"-o{option}" for option in options]
