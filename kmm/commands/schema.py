"""`python -m kmm schema`: the format of Module files, for editors and for the API server."""

import json
from typing import Annotated

import typer


def schema(
    crd: Annotated[
        bool, typer.Option("--crd", help="Print the CustomResourceDefinition instead, as YAML for kubectl.")
    ] = False,
) -> None:
    """Print the JSON Schema of Module files, by which editors complete and check them.

    An editor with the YAML language server takes it from a file's first line:

    \b
    # yaml-language-server: $schema=PATH/schema/module.json

    Examples:

    \b
    python -m kmm schema > module.json
    python -m kmm schema --crd | kubectl apply --server-side -f -
    """
    if crd:
        from kmm.commands.yaml_text import to_yaml  # noqa: PLC0415
        from kmm.definition.crd import custom_resource_definition  # noqa: PLC0415

        typer.echo(to_yaml([custom_resource_definition()]), nl=False)
    else:
        from kmm.definition.schema import file_schema  # noqa: PLC0415

        typer.echo(json.dumps(file_schema(), indent=2))
