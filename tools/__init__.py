"""Developer tooling: pinned command-line tools, the embedded cluster, its registry. No part of the program.

Run as modules from the checkout: `python3 -m tools.bootstrap`, `python -m tools.cluster up`.
"""
