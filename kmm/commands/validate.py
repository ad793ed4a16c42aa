"""`python -m kmm validate`: checks Module files without a cluster."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from kmm.problems import DefinitionError, Problem


class OutputFormat(StrEnum):
    """How the problems are printed."""

    TEXT = "text"
    JSON = "json"


def validate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Files, folders (with subfolders: *.yaml, *.yml, *.json) or globs.",
            show_default=False,
        ),
    ],
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="json: a list of problems on stdout.")
    ] = OutputFormat.TEXT,
) -> None:
    """Check Module files and report every problem with its file, line and field.

    Exit code 0 when there are no errors (warnings are allowed), 1 when there are.

    Examples:

    \b
    python -m kmm validate stacks/dev
    python -m kmm validate 'modules/**/*.yaml' -o json
    """
    from kmm.loading import load_modules  # noqa: PLC0415

    try:
        loaded = load_modules(paths)
    except DefinitionError as error:
        if output is OutputFormat.TEXT:
            raise
        _print_json(error.problems)
        raise typer.Exit(1) from error
    if output is OutputFormat.JSON:
        _print_json(loaded.warnings)
        return
    for warning in loaded.warnings:
        typer.echo(warning, err=True)
    typer.echo(f"valid: {_count(loaded.modules, 'Module')}, {_count(loaded.warnings, 'warning')}")


def _print_json(problems: tuple[Problem, ...]) -> None:
    typer.echo(json.dumps([asdict(problem) for problem in problems], indent=2))


def _count(things: tuple[object, ...], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
