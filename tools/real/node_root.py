"""The Debian root that both nodes run from, and the files laid over it for one node."""

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tools.bootstrap import Toolset
from tools.real.cache import cached
from tools.real.network import REGISTRY
from tools.real.packages import SUITE, RealNodesError, archive

KERNELS: Final = ("linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64")
PAUSE_IMAGE: Final = f"{REGISTRY}/pause:1"
_PACKAGES: Final = (
    *KERNELS,
    "busybox-static",
    "ca-certificates",
    "containerd",
    "containernetworking-plugins",
    "crun",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "procps",
    "qemu-guest-agent",
    "runc",
    "udev",
)
_LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
# What the VM's disk needs, instead of drivers for any hardware: without hardware virtualization each costs time.
_SMALL_INITRAMFS: Final = """
cd "$1"
mkdir -p etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
echo MODULES=list >etc/initramfs-tools/conf.d/virtual-machine
printf '%s\\n' ext4 virtio_blk virtio_pci >usr/share/initramfs-tools/modules.d/virtual-machine
"""
_SCRIPTS: Final = Path(__file__).parent / "node"


@dataclass(frozen=True)
class Node:
    """What tells the two nodes apart; `address` is where the API server finds the kubelet.

    `listen` is the address that the kubelet binds: it lets everybody in who reaches it. `own_disk`: whether its root is
    a disk, of which the kubelet can tell how full it is. `runtime`: what containerd runs containers with, runc or crun.
    """

    name: str
    address: str
    listen: str
    api_server: str
    bridge: str
    pod_subnet: str
    first_pod_address: str | None = None
    own_disk: bool = False
    runtime: str = "runc"


def debian_root() -> Path:
    """Return the folder with Debian, two kernels, containerd and the guest agent; made on the first use."""
    debian = archive()
    inputs = json.dumps([debian.sources, debian.versions(_PACKAGES), _LEFT_OUT, _SMALL_INITRAMFS])

    def make(folder: Path) -> None:
        mmdebstrap(folder / "root", *_PACKAGES, hooks=(f"--essential-hook={_SMALL_INITRAMFS}",))

    return cached("node-root", inputs, make) / "root"


def mmdebstrap(target: Path, *packages: str, hooks: Sequence[str] = ()) -> None:
    """Make a minimal Debian with `packages` in `target`, a folder or the name of a tar archive."""
    debian = archive()
    options = [f"--aptopt={option}" for option in (*debian.options, 'Acquire::Languages "none"')]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    options += ["--variant=minbase", f"--include={','.join(packages)}"]
    command = ["mmdebstrap", "--quiet", *options, *hooks, SUITE, str(target), *debian.sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RealNodesError(f"Debian could not be installed to {target}:\n{done.stderr[-3000:]}")


def kernels(root: Path) -> list[str]:
    """Return the releases of the kernels in `root`, the oldest first."""
    releases = [path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*")]
    return sorted(
        releases, key=lambda release: [int(number) for number in release.split("-")[0].split("+")[0].split(".")]
    )


def lay_over(folder: Path, node: Node, kubeconfig: Path, tools: Toolset) -> None:
    """Write the files of `node` below `folder`, which is laid over the Debian root."""
    files = {
        "etc/kubelet.json": json.dumps(_kubelet_configuration(node)),
        "etc/kubelet.arguments": f"--hostname-override={node.name} --node-ip={node.address}",
        "etc/kubeconfig": json.dumps(_kubeconfig(kubeconfig, node.api_server)),
        "etc/containerd/config.toml": _containerd_configuration(node),
        f"etc/containerd/certs.d/{REGISTRY}/hosts.toml": f'[host."http://{REGISTRY}"]\n',
        "etc/cni/net.d/10-bridge.conflist": json.dumps(_pod_network(node)),
        "etc/hostname": f"{node.name}\n",
        "etc/resolv.conf": "",  # all is reached by address
        "etc/addresses": node.address,
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    programs = folder / "usr/local/sbin"
    programs.mkdir(parents=True, exist_ok=True)
    for program in (tools.binary("kubelet"), _SCRIPTS / "node-init", _SCRIPTS / "virtual-machine-init"):
        shutil.copy2(program, programs)


def _kubelet_configuration(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.listen,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": node.own_disk,
        "makeIPTablesUtilChains": False,  # they would stay on this machine
        "registerWithTaints": [],
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        # A disk that is nearly full on this machine is no reason to throw pods of a test out.
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "evictionPressureTransitionPeriod": "5s",
    }


def _kubeconfig(path: Path, server: str) -> dict[str, Any]:
    """The administrator's kubeconfig with the certificates inside, for `server`."""
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    for section, key in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")):
        section[f"{key}-data"] = base64.b64encode(Path(section.pop(key)).read_bytes()).decode()
    cluster["server"] = server
    return config


def _pod_network(node: Node) -> dict[str, Any]:
    pods: dict[str, str] = {"subnet": node.pod_subnet}
    if node.first_pod_address:
        pods["rangeStart"] = node.first_pod_address
    bridge: Mapping[str, Any] = {
        "type": "bridge",
        "bridge": node.bridge,
        "isGateway": True,
        "ipam": {"type": "host-local", "ranges": [[pods]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _containerd_configuration(node: Node) -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower a container's score.
    return f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{node.runtime}"
"""
