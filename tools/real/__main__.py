"""`python -m tools.real down`: remove what real nodes left on this machine."""

import argparse
import sys

from tools.bootstrap import BootstrapError, ensure
from tools.cluster import CLUSTER_TOOLS
from tools.real.packages import RealNodesError, require_root
from tools.real.site import anything_left, remove_leftovers


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.real", description="Real nodes of the test tier `node`.")
    parser.add_argument("command", choices=["down"], help="remove what an earlier run left")
    parser.parse_args()
    try:
        if anything_left():
            require_root()  # first, for the tools take their time
            remove_leftovers(ensure(CLUSTER_TOOLS))
    except (BootstrapError, RealNodesError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
