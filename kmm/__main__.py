"""The command line, `python -m kmm`. Only registers commands and shows expected errors."""

import atexit
import os
import sys
import threading
from pathlib import Path
from typing import Final

import typer

from kmm.commands.explain import explain
from kmm.commands.plan import plan
from kmm.commands.preflight import preflight
from kmm.commands.render import render
from kmm.commands.schema import schema
from kmm.commands.status import status
from kmm.commands.validate import validate
from kmm.errors import KmmError

_EXIT_CODES: Final = "Exit codes: 0 success, 1 failure (stderr says why), 2 wrong usage, 3 not ready (status only)."

app = typer.Typer(
    name="kmm",
    help=(
        "Out-of-tree Linux kernel modules on Kubernetes.\n\n"
        "After `pip install .` it is also the command kmm, which shells can complete:\n\n"
        "\b\nkmm --install-completion"
    ),
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: fast, and as wide as what it is piped into
    context_settings={"max_content_width": 100},
    add_completion=Path(sys.argv[0]).stem == "kmm",  # shells complete commands, not modules
    pretty_exceptions_enable=False,
)
for command in (validate, plan, render, preflight, status, explain, schema):
    app.command(epilog=_EXIT_CODES)(command)


def main() -> None:
    """Run the command line; an expected error, such as a full disk, is shown without a traceback."""
    try:
        app()
    except (KmmError, OSError) as error:
        typer.echo(error, err=True)
        _end(1)
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 1)


def _end(code: int) -> None:
    """After Ctrl-C there may be threads that still wait for an answer, for minutes: nobody waits for them."""
    if threading.active_count() > 1:
        atexit._run_exitfuncs()  # keys that the Kubernetes client has written to files go  # noqa: SLF001
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
