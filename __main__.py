"""The Pulumi program: `pulumi preview` and `pulumi up` run this file."""

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


pulumi.run(main)
