"""How much of a large image `preflight` reads when the kernel module is in its last layer, and when it is nowhere.

Run it as `python -m bench.preflight`; it starts a local registry and needs 1 GB of disk for a moment.
Goal: nothing of the layers below the one with the module.
"""

import io
import os
import re
import tarfile
import tempfile
from pathlib import Path
from time import perf_counter

import requests

from kmm.image_files import ModuleFolder
from kmm.image_layers import ModuleSearch, search_images
from kmm.registry import ImageRequest
from tools.bootstrap import ensure
from tools.images import Pusher
from tools.registry import Registry

LAYERS, LAYER_SIZE = 6, 64 * 1024 * 1024
KERNEL = "6.1.0-32-amd64"
FOLDER = f"opt/lib/modules/{KERNEL}"
_SENT = re.compile(r'http\.request\.method=GET .*?http\.request\.uri="?/v2/kmod/blobs/.*?http\.response\.written=(\d+)')


def layer(files: dict[str, bytes]) -> bytes:
    """A layer of these files, compressed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return content.getvalue()


def main() -> None:
    large = [layer({f"usr/lib/{number}.so": os.urandom(LAYER_SIZE)}) for number in range(LAYERS)]
    last = layer({f"{FOLDER}/kmod.ko": os.urandom(100_000), f"{FOLDER}/modules.dep": b"kmod.ko:\n"})
    layers = [*large, last]
    with tempfile.TemporaryDirectory() as folder, Registry(Path(folder), ensure(["registry"])) as registry:
        with requests.Session() as session:
            Pusher(f"http://{registry.host}", session).push_layers("kmod", "1", layers)
        size = sum(map(len, layers))
        print(f"image of {LAYERS + 1} layers, {size / 1e6:,.0f} MB compressed")
        for kernel in (KERNEL, "6.1.0-absent"):
            before = len(registry.log)
            start = perf_counter()
            search = ModuleSearch(
                ImageRequest(f"{registry.host}/kmod:1", insecure=True),
                ModuleFolder(f"opt/lib/modules/{kernel}", ("kmod",)),
            )
            found = search_images([search], "linux/amd64")[search]
            seconds = perf_counter() - start
            sent = sum(map(int, _SENT.findall(registry.log[before:])))
            print(f"{kernel}: {seconds:5.2f} s, {sent:12,} bytes read, {sent / size:8.3%} of the image; {found.files}")


if __name__ == "__main__":
    main()
