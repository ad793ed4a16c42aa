"""The network of the real nodes: a bridge on this machine, with the registry's one address on it.

The same image name has to work for the checks on this machine, for build pods and for both containerds. Pods of the
kubelet on this machine reach the bridge as their gateway, and nothing beyond; the VM's user-mode network passes
connections on from here.
"""

import subprocess
from pathlib import Path
from typing import Final

from tools.real.packages import RealNodesError

BRIDGE: Final = "kmm-real"
# A given one stays. Otherwise a bridge takes over the lowest of its ports as pods come and go, and connections of the
# other pods stand still until they have forgotten the old one, up to 30 s.
_HARDWARE_ADDRESS: Final = "02:6b:6d:6d:00:01"
GATEWAY: Final = "10.213.77.1"
REGISTRY: Final = f"{GATEWAY}:5000"
POD_SUBNET: Final = "10.213.77.0/24"
VM_ADDRESS: Final = "10.213.77.2"  # on the bridge, so that the API server finds the VM's kubelet there
FIRST_POD_ADDRESS: Final = "10.213.77.16"
VM_POD_SUBNET: Final = "10.213.78.0/24"
HOST_SEEN_FROM_VM: Final = "10.0.2.2"  # QEMU's name for this machine's loopback

_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_SAVED_FORWARDING: Final = "ip_forward"


def up(folder: Path) -> None:
    """Make the bridge; `folder` keeps what `down` restores. Raises RealNodesError with the reason."""
    (folder / _SAVED_FORWARDING).write_text(_FORWARDING.read_text())
    _run("ip", "link", "add", BRIDGE, "address", _HARDWARE_ADDRESS, "type", "bridge")
    for address in (GATEWAY, VM_ADDRESS):
        _run("ip", "address", "add", f"{address}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")


def down(folder: Path) -> None:
    """Remove the bridge, and restore forwarding, which the plugin for the pods' network turns on."""
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    saved = folder / _SAVED_FORWARDING
    if saved.exists():
        _FORWARDING.write_text(saved.read_text())


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RealNodesError(f"{' '.join(command)}: {done.stderr.strip()}")
