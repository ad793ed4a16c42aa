"""Base images made from Debian packages, pushed to the local registry; kept in the cache as OCI layouts."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tools.bootstrap import CHECKOUT
from tools.real import mirror
from tools.real.cache import cached
from tools.real.network import REGISTRY
from tools.real.node_root import PAUSE_IMAGE, kernels, mmdebstrap
from tools.real.packages import RealNodesError, archive

DEBIAN_IMAGE: Final = f"{REGISTRY}/debian:bookworm"
BUILDER_IMAGE: Final = f"{REGISTRY}/builder:1"
SIGNER_IMAGE: Final = f"{REGISTRY}/signer:1"
SAMPLE_SOURCE_IMAGE: Final = f"{REGISTRY}/sample-source:1"
DEVICE_PLUGIN_IMAGE: Final = f"{REGISTRY}/device-plugin:1"

_PAUSE: Final = """\
FROM scratch
COPY busybox /bin/busybox
ENTRYPOINT ["/bin/busybox", "tail", "-f", "/dev/null"]
"""
_DEBIAN: Final = """\
FROM scratch
ADD debian.tar /
CMD ["/bin/sh"]
"""
_DEBIAN_PACKAGES: Final = ("ca-certificates",)
_PACKAGES_OF_BUILDS: Final = (  # besides the headers of the kernels
    "buildah",
    "gzip",
    "kmod",
    "linux-kbuild-6.1",
    "make",
    "python3-grpcio",
    "skopeo",
    "umoci",
    "xz-utils",
    "zstd",
)
_CONTEXTS: Final = {  # of the images on top of the Debian image
    BUILDER_IMAGE: CHECKOUT / "loader-image/builder",
    SIGNER_IMAGE: CHECKOUT / "loader-image/signer",
    SAMPLE_SOURCE_IMAGE: CHECKOUT / "loader-image/sample",
    DEVICE_PLUGIN_IMAGE: CHECKOUT / "tests/node/device-plugin",
}
_LAYOUT: Final = "layout"
_MIRROR: Final = "packages"


def provide(debian_root: Path, folder: Path) -> None:
    """Put all base images into the registry, which has to run, and start the mirror for what is built on them.

    `folder` is that of the real nodes.
    """
    debian = archive()
    busybox = debian_root / "bin/busybox"
    packages = (*_PACKAGES_OF_BUILDS, *(f"linux-headers-{kernel}" for kernel in kernels(debian_root)))
    base = [_DEBIAN, debian.sources, debian.options, debian.versions(("base-files", *_DEBIAN_PACKAGES, *packages))]
    _provide(PAUSE_IMAGE, [_PAUSE, str(debian_root)], partial(_make_pause, busybox))
    mirror.serve(_provide(DEBIAN_IMAGE, base, partial(_make_debian, packages)) / _MIRROR, folder, busybox)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda image: _provide_on_debian(image, base), _CONTEXTS))


def _provide_on_debian(image: str, base: Sequence[object]) -> None:
    context = _CONTEXTS[image]
    files = {path.name: path.read_text() for path in sorted(context.iterdir())}
    _provide(image, [base, files], partial(_build, context))


def _provide(image: str, inputs: Sequence[object], make: Callable[[Path], None]) -> Path:
    """Push an image and return its folder in the cache."""
    name = image.rpartition("/")[2].partition(":")[0]
    folder = cached(f"image-{name}", json.dumps(inputs), make)
    _run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{folder / _LAYOUT}", f"docker://{image}")
    return folder


def _make_pause(busybox: Path, folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as context:
        shutil.copy2(busybox, context)
        Path(context, "Containerfile").write_text(_PAUSE)
        _build(Path(context), folder)


def _make_debian(packages: Sequence[str], folder: Path) -> None:
    (folder / _MIRROR).mkdir()
    with TemporaryDirectory(dir=folder) as context:
        fetch = mirror.fetch_hook(packages, folder / _MIRROR)
        mmdebstrap(Path(context, "debian.tar"), *_DEBIAN_PACKAGES, hooks=(fetch,))
        Path(context, "Containerfile").write_text(_DEBIAN)
        _build(Path(context), folder)


def _build(context: Path, folder: Path) -> None:
    """Build the Containerfile in `context` to an OCI layout in `folder`."""
    storage = folder / "storage"
    folders = ("--root", str(storage / "root"), "--runroot", str(storage / "run"))
    buildah = ("buildah", *folders, "--storage-driver", "vfs")
    base = f"BASE_IMAGE={DEBIAN_IMAGE}"
    # chroot: needs no container runtime and leaves no cgroup or network behind.
    isolated = ("--isolation=chroot", "--tls-verify=false", f"--build-arg={base}", "--tag=made")
    _run(*buildah, "bud", "--quiet", *isolated, "--file", context / "Containerfile", context)
    _run(*buildah, "push", "--quiet", "made", f"oci:{folder / _LAYOUT}")
    shutil.rmtree(storage)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RealNodesError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
