"""What a run that was killed left behind: processes, network, cgroups, its folder."""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.bootstrap import Toolset
from tools.cluster import Cluster
from tools.processes import kill_all
from tools.real import network

# Ending `unshare` ends the kubelet's node with all its containers and mounts. Names are the kernel's, of 15 letters at
# most; `dockerd` is of a test.
_PROGRAMS: Final = ("unshare", "qemu-system-x86", "registry", "busybox", "dockerd")


def remove(folder: Path, tools: Toolset) -> None:
    """Remove all that real nodes in `folder` started or made; nothing to remove is fine."""
    kill_all(lambda: _processes(folder))
    Cluster(folder / "cluster", tools).stop()
    network.down(folder)
    remove_cgroups(folder)
    unmount(folder)
    if folder.exists():
        shutil.rmtree(folder)


def alive(folder: Path) -> bool:
    """Tell whether real nodes in `folder` run."""
    return any(_processes(folder))


def _processes(folder: Path) -> Iterator[int]:
    """Yield our programs that have `folder` on their command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = (process / "comm").read_text().strip()
            command = (process / "cmdline").read_bytes()
        except OSError:  # ended meanwhile
            continue
        if program in _PROGRAMS and f"{folder}/".encode() in command + b"/":
            yield int(process.name)


def unmount(folder: Path) -> None:
    """Unmount what is mounted below the folder, the last first; Docker of a test mounts its own folders."""
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.is_relative_to(folder):
            subprocess.run(["umount", mount], check=False, capture_output=True)


def remove_cgroups(folder: Path) -> None:
    """Remove the cgroups of containers that were killed with the node: containerd names them after the containers."""
    containers = {record.name for record in folder.glob("*/containerd/io.containerd.grpc.v1.cri/*/*")}
    for parent, names, _ in os.walk("/sys/fs/cgroup"):  # which minds no group that goes meanwhile
        for name in containers.intersection(names):
            _remove_cgroup(Path(parent, name))


def _remove_cgroup(group: Path) -> None:
    """Remove it as soon as the kernel has ended its processes."""
    while True:
        try:
            return group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.05)
