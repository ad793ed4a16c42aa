"""Base images made from Debian packages, pushed to the local registry; kept in the cache as OCI layouts."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tools.bootstrap import CHECKOUT
from tools.real.cache import cached
from tools.real.network import REGISTRY
from tools.real.node_root import PAUSE_IMAGE, mmdebstrap
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
_LAYOUT: Final = "layout"


@dataclass(frozen=True)
class _Recipe:
    """An image on top of the Debian image, whose Containerfile in `context` installs `packages`."""

    image: str
    context: Path
    packages: tuple[str, ...]

    def inputs(self) -> list[object]:
        """Return what the image is made from, besides its base."""
        files = {path.name: path.read_text() for path in sorted(self.context.iterdir())}
        return [files, archive().versions(self.packages)]


_RECIPES: Final = (
    _Recipe(BUILDER_IMAGE, CHECKOUT / "loader-image/builder", ("buildah",)),
    _Recipe(SIGNER_IMAGE, CHECKOUT / "loader-image/signer", ("linux-kbuild-6.1", "skopeo", "umoci")),
    _Recipe(SAMPLE_SOURCE_IMAGE, CHECKOUT / "loader-image/sample", ()),
    _Recipe(DEVICE_PLUGIN_IMAGE, CHECKOUT / "tests/node/device-plugin", ("python3-grpcio",)),
)


def provide(debian_root: Path) -> None:
    """Put all base images into the registry, which has to run: the others are built on its Debian image."""
    debian = archive()
    base = [_DEBIAN, debian.sources, debian.options, debian.versions(("base-files", *_DEBIAN_PACKAGES))]
    _provide(PAUSE_IMAGE, [_PAUSE, str(debian_root)], partial(_make_pause, debian_root / "bin/busybox"))
    _provide(DEBIAN_IMAGE, base, _make_debian)
    for recipe in _RECIPES:
        _provide(recipe.image, [base, recipe.inputs()], partial(_build, recipe.context))


def _provide(image: str, inputs: Sequence[object], make: Callable[[Path], None]) -> None:
    name = image.rpartition("/")[2].partition(":")[0]
    layout = cached(f"image-{name}", json.dumps(inputs), make) / _LAYOUT
    _run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{image}")


def _make_pause(busybox: Path, folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as context:
        shutil.copy2(busybox, context)
        Path(context, "Containerfile").write_text(_PAUSE)
        _build(Path(context), folder)


def _make_debian(folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as context:
        mmdebstrap(Path(context, "debian.tar"), *_DEBIAN_PACKAGES)
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
