"""The demo where no engine can be had: the plan and the manifests of the sample, which need no cluster."""

import subprocess
import sys

from tools.bootstrap import CHECKOUT
from tools.demo.sample import MODULES, NODES


def tell_without_engine(reason: str) -> int:
    """Print plan and manifests, and what was left out and why; return the exit code, 0 unless these fail."""
    for command in ("plan", "render"):
        paths = [str(path.relative_to(CHECKOUT)) for path in (MODULES, NODES)]
        arguments = ["--modules", paths[0], "--nodes", paths[1], "--assume-images", "present"]
        print(f"\n$ python -m kmm {command} {' '.join(arguments)}", flush=True)
        ended = subprocess.run([sys.executable, "-m", "kmm", command, *arguments], cwd=CHECKOUT, check=False)
        if ended.returncode != 0:
            return 1
    print(
        f"\n{reason}\nLEFT OUT: all that needs the engine: cluster, registry, preview and up. Above are the plan of "
        "the\nsample and the objects that `pulumi up` would declare. KMM_TOOLS_MIRROR names a folder or URL with the "
        "tools."
    )
    return 0
