"""The command line, `python -m kmm`. Only registers commands and shows expected errors."""

import sys

import typer

from kmm.commands.explain import explain
from kmm.commands.plan import plan
from kmm.commands.preflight import preflight
from kmm.commands.render import render
from kmm.commands.schema import schema
from kmm.commands.status import status
from kmm.commands.validate import validate
from kmm.errors import KmmError

app = typer.Typer(
    name="kmm",
    help="Out-of-tree Linux kernel modules on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.command()(validate)
app.command()(plan)
app.command()(render)
app.command()(preflight)
app.command()(schema)
app.command()(status)
app.command()(explain)


def main() -> None:
    """Exit codes: 0 success, 1 an expected error (its text is on stderr), 2 wrong usage, 3 not ready (`status`)."""
    try:
        app()
    except KmmError as error:
        typer.echo(error, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
