"""A virtual machine with Debian's own kernels, emulated by QEMU (no KVM needed), as a node of the embedded cluster."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.bootstrap import Toolset
from tools.real import secure_boot
from tools.real.guest_agent import GuestAgent
from tools.real.network import HOST_SEEN_FROM_VM, VM_ADDRESS, VM_POD_SUBNET
from tools.real.node_root import PAUSE_IMAGE, Node, kernels, lay_over
from tools.real.packages import RealNodesError

VIRTUAL_MACHINE: Final = "virtual-machine"
_PRELOAD: Final = Path(__file__).parent / "node/preload"
_DISK_GIB: Final = 6
_KUBELET_PORT: Final = 10250
_BOOT_WITHIN_SECONDS: Final = 180
_LINES: Final = 15
_PROCESSOR: Final = "max,-erms,-fsrm"  # without the string instructions that QEMU emulates byte by byte
# With a second one, QEMU 7.2 may go on executing what the kernel has since patched out of its own code: both then hang
# in one instruction. A boot takes 0.8 s longer with one.
_PROCESSORS: Final = "1"
_CONTAINER_RUNTIME: Final = "crun"  # each start of runc is one of Go's runtime, the dearest part of a pod here
_KERNEL_OPTIONS: Final = (
    "root=/dev/vda",
    "init=/usr/local/sbin/node-init",
    "net.ifnames=0",
    "console=ttyS0",
    "panic=-1",
    # Against leaks of a real processor, and of what memory held before: here they only cost time.
    "mitigations=off",
    "init_on_alloc=0",
    # The same code is at the same address each time: a boot becomes a quarter shorter.
    "nokaslr",
    "norandmaps",
    "firmware_class.path=/var/lib/firmware",  # where Modules put firmware, as the operator's users set it
)


class VirtualMachineError(RealNodesError):
    """The virtual machine did not start, or a command in it failed; carries the end of its console."""


class VirtualMachine:
    """A machine in `folder`: its disk, the socket of its guest agent, and `console.log`."""

    def __init__(self, folder: Path, debian: Path, tools: Toolset) -> None:
        """`debian` is the root that its disk is made from."""
        self.name = VIRTUAL_MACHINE
        self.folder = folder
        self.kernels = kernels(debian)
        self._debian = debian
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None
        self.agent = GuestAgent(folder / "agent.sock")
        self.booted = ""  # the kernel; none while the power is off
        self.secure = False

    def make_disk(self, kubeconfig: Path, api_server_port: int, images: Sequence[str]) -> None:
        """Make a new disk with `images` on it, whose kubelet joins the API server on this machine's loopback."""
        server = f"https://{HOST_SEEN_FROM_VM}:{api_server_port}"
        network = (VM_ADDRESS, "0.0.0.0", server, "pods", VM_POD_SUBNET)
        node = Node(self.name, *network, own_disk=True, runtime=_CONTAINER_RUNTIME)
        lay_over(self.folder / "files", node, kubeconfig, self._tools)
        _apart(self.folder, str(_PRELOAD), str(self._debian), PAUSE_IMAGE, *images)
        script = """
            mount -t overlay overlay -o "lowerdir=$1,upperdir=files,workdir=overlay" root
            mount --bind containerd root/var/lib/containerd
            truncate --size="$2" disk
            mke2fs -q -t ext4 -m 0 -d root disk
        """
        _apart(self.folder, "sh", "-euc", script, "sh", str(self._debian), f"{_DISK_GIB}G")

    def power_on(self, kernel: str, *, secure: bool = False) -> None:
        """Boot `kernel`, one of `kernels`, and wait until the guest agent answers; the node may take longer.

        `secure`: by firmware with Secure Boot on (`tools.real.secure_boot`). Raises VirtualMachineError.
        """
        image = self._debian / f"boot/vmlinuz-{kernel}"
        firmware: list[str | Path] = []
        if secure:
            image, firmware = secure_boot.signed(image, self.folder), secure_boot.hardware(self.folder)
        with (self.folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._hardware(), *firmware, *self._boot(kernel, image)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.booted, self.secure = kernel, secure
        deadline = time.monotonic() + _BOOT_WITHIN_SECONDS
        while not self.agent.is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.power_off()
                raise VirtualMachineError(f"The virtual machine did not start.\n{self.last_words(_LINES)}")
            time.sleep(0.5)

    def power_off(self) -> None:
        """Pull the plug."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.booted = ""

    def shut_down(self) -> None:
        """Write everything to the disk, then power off; pods are not asked, as in any reboot by hand."""
        self.run("sync")
        self.power_off()

    def run(self, script: str, within_seconds: float = 60) -> str:
        """Run a shell script in the machine and return its output; VirtualMachineError when it fails."""
        done = self.agent.run("sh", "-euc", script, within_seconds=within_seconds)
        if done.returncode != 0:
            raise VirtualMachineError(f"{script}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def boot_id(self) -> str:
        """Return what tells this boot from others; the node's `status.nodeInfo.bootID`."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def loaded_modules(self) -> set[str]:
        """Return the names in /proc/modules."""
        return {line.split()[0] for line in self.run("cat /proc/modules").splitlines()}

    def parameter(self, module: str, name: str) -> str:
        """Return a parameter of a loaded module, as the kernel shows it."""
        return self.run(f"cat /sys/module/{module}/parameters/{name}").strip()

    def kernel_log(self) -> str:
        """Return the output of dmesg."""
        return self.run("dmesg")

    def last_words(self, lines: int) -> str:
        """Return so many lines each from the ends of QEMU's log and of the console."""
        logs = (self.folder / "qemu.log", self.folder / "console.log")
        ends = (log.read_text(errors="replace").splitlines()[-lines:] for log in logs if log.exists())
        return "\n".join("\n".join(end) for end in ends)

    def _hardware(self) -> list[str | Path]:
        forward = f"hostfwd=tcp:{VM_ADDRESS}:{_KUBELET_PORT}-:{_KUBELET_PORT}"
        return [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", _PROCESSOR, "-smp", _PROCESSORS),
            *("-m", "2048", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-drive", f"file={self.folder}/disk,format=raw,if=virtio,cache=unsafe"),
            *("-netdev", f"user,id=lan,{forward}", "-device", "virtio-net-pci,netdev=lan"),
            *("-chardev", f"socket,id=agent,path={self.folder}/agent.sock,server=on,wait=off"),
            *("-device", "virtio-serial", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-serial", f"file:{self.folder}/console.log"),
        ]

    def _boot(self, kernel: str, image: Path) -> list[str | Path]:
        initrd = self._debian / f"boot/initrd.img-{kernel}"
        return ["-kernel", image, "-initrd", initrd, "-append", " ".join(_KERNEL_OPTIONS)]


def _apart(folder: Path, *command: str) -> None:
    """Run a command in mounts and processes of its own: nothing stays mounted or runs on, whatever happens."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--kill-child", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise VirtualMachineError(f"The disk of the virtual machine could not be made: {done.stderr.strip()}")
