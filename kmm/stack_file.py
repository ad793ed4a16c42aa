"""What a stack's file (`Pulumi.NAME.yaml`) says of Jobs, for commands that run without Pulumi."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from kmm.documents import parse_documents
from kmm.errors import SettingsError
from kmm.jobs import JobSettings

_PREFIX: Final = "kmm:"


def load_job_settings(path: Path) -> JobSettings:
    """`kmm:builder`, `kmm:build` and `kmm:sign` of a stack's file, with defaults for what it does not set.

    Raises SettingsError that names the file and every setting with a problem.
    """
    config = _config(path)
    own = {name: config[_PREFIX + name] for name in JobSettings.model_fields if _PREFIX + name in config}
    try:
        return JobSettings.model_validate(own)
    except ValidationError as error:
        problems = [
            f"{path}: {_PREFIX}{'.'.join(map(str, one['loc']))}: {one['msg']}; given: {one['input']!r}"
            for one in error.errors()
        ]
        raise SettingsError("\n".join(problems)) from None


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
