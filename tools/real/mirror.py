"""A mirror of the Debian packages that images are built of, on the network of the real nodes.

Each build asks for its packages anew, and Debian's archive in the internet may stand still for minutes. So packages are
fetched once, and builds reach this mirror and nothing else.
"""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.real.network import GATEWAY
from tools.real.packages import RealNodesError

_ADDRESS: Final = f"{GATEWAY}:5001"
_SOURCE: Final = f"deb [trusted=yes] http://{_ADDRESS}/ ./"
_FETCH: Final = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --no-install-recommends --download-only install'


def fetch_hook(packages: Sequence[str], folder: Path) -> str:
    """Return an option of mmdebstrap: fetch `packages` and what they depend on to `folder`, whence the root gets more.

    What only led to Debian's archive, such as proxies, does not stay in the root.
    """
    quoted = shlex.quote(str(folder))
    script = f"""
        {_FETCH} {shlex.join(packages)} >/dev/null
        mv "$1"/var/cache/apt/archives/*.deb {quoted}
        cd {quoted} && apt-ftparchive packages . >Packages
        echo {shlex.quote(_SOURCE)} >"$1/etc/apt/sources.list"
        rm --force "$1/etc/apt/apt.conf.d/99mmdebstrap"
    """
    return f"--customize-hook=set -eu; {script}"


def serve(packages: Path, folder: Path, busybox: Path) -> None:
    """Serve the folder `packages` until the real nodes' `folder` is removed. Raises RealNodesError with the reason."""
    link = folder / "mirror"  # by which the server is known for one of ours
    link.symlink_to(packages)
    done = subprocess.run(
        [busybox, "httpd", "-p", _ADDRESS, "-h", link], check=False, capture_output=True, text=True
    )  # which returns as soon as it listens
    if done.returncode != 0:
        raise RealNodesError(f"The mirror of Debian packages did not start on {_ADDRESS}: {done.stderr.strip()}")
