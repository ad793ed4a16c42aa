"""The Pulumi program: `pulumi preview` and `pulumi up` run this file."""

import signal
from typing import Any

import pulumi

from kmm.errors import KmmError
from kmm.program import run


async def main() -> dict[str, Any]:
    """Everything that is expected to go wrong ends with its message alone."""
    try:
        return await run()
    except KmmError as error:
        raise pulumi.RunError(str(error)) from error


# Of a run that failed, the engine interrupts the program that still waits for it: a traceback would bury the error.
signal.signal(signal.SIGINT, signal.SIG_DFL)
pulumi.run(main)
