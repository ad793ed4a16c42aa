"""The settings in a stack's file (`Pulumi.NAME.yaml`), for commands that run without Pulumi."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kmm.documents import parse_documents
from kmm.errors import SettingsError
from kmm.settings import Settings, checked_settings

_PROJECT: Final = "kmm"


def load_settings(path: Path, **given: object) -> Settings:
    """The settings of a stack's file, but those that are `given`.

    Raises SettingsError that names the file and every setting with a problem.
    """
    prefix = f"{_PROJECT}:"
    config = _config(path).items()
    own = {
        key.removeprefix(prefix): value for key, value in config if key.startswith(prefix) and value not in ("", None)
    }
    try:
        return checked_settings(_PROJECT, own | given)
    except SettingsError as error:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in str(error).splitlines())) from None


def _config(path: Path) -> Mapping[str, Any]:
    try:
        documents, flaws = parse_documents(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"stack file {path} can't be read: {error}") from None
    if flaws:
        raise SettingsError("\n".join(f"{path}:{flaw.line}: {flaw.message}" for flaw in flaws))
    match [document.value for document in documents]:
        case [{"config": dict(config)}]:
            return config
    raise SettingsError(f"{path} is no stack file: it has no mapping `config`; see stacks/Pulumi.dev.yaml")
