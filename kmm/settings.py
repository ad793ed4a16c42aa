"""The stack's configuration, read once. Every key is described in `Pulumi.yaml`."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from shlex import quote
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from kmm.definition.messages import EXPECTED, closest_key, known_keys
from kmm.duration import Duration
from kmm.errors import SettingsError
from kmm.image_rules import UNPINNED
from kmm.job_checks import job_warnings
from kmm.jobs import Builder, BuildSettings, JobSettings, SignSettings
from kmm.module_source import Source
from kmm.plan import Plan
from kmm.rollout import allowed_unready

# Never taken for JSON: who sets the content of a kubeconfig by mistake must not find it in an error.
_PATHS_AND_NAMES = ("kubeconfig", "context")
# What a path goes on with, where --path was left out.
_PARTS: Final = {"must be a list": "[0]", "must be a mapping": ".KEY"}
_ENCRYPTED = {"secure": ""}  # as in a stack's file, and without the value, which the engine has decrypted


def _checked_unready(text: str) -> str:
    allowed_unready(text)
    return text


class ImageCheck(StrEnum):
    """What is believed of images that a mapping builds or signs."""

    REGISTRY = "registry"
    ASSUME_PRESENT = "assume-present"
    ASSUME_MISSING = "assume-missing"


class Audit(StrEnum):
    """Who is asked where modules really are."""

    NFD = "nfd"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class RolloutSettings(_Settings):
    """How long `up` waits for one more node with a loaded module, and how many nodes of a Module may stay without."""

    timeout: Duration = timedelta(minutes=10)
    max_unready: Annotated[str, BeforeValidator(str), AfterValidator(_checked_unready)] = "0"
    wait: bool = True


class Settings(_Settings):
    """Settings of one stack; attribute `image_check` is the key `kmm:imageCheck`."""

    source: Source = Source.FILES  # before modules, whose rule looks at it
    modules: tuple[str, ...] = Field((), validate_default=True)
    kubeconfig: str | None = None
    context: str | None = None
    image_check: ImageCheck = ImageCheck.REGISTRY
    require_images: bool = False
    future_kernels: tuple[str, ...] = ()
    require_future_kernels: bool = False
    pin_digests: bool = False
    rollout: RolloutSettings = RolloutSettings()
    audit: Audit | None = None
    builder: Builder = Builder.BUILDAH
    build: BuildSettings = BuildSettings()
    sign: SignSettings = SignSettings()

    @field_validator("*", mode="before")
    @classmethod
    def _no_secret(cls, value: object) -> object:
        if _is_encrypted(value):
            raise PydanticCustomError("secret", "is a secret")
        return value

    @field_validator("modules")
    @classmethod
    def _modules_as_source_says(cls, paths: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        source = info.data.get("source")
        if source in (Source.FILES, Source.BOTH) and not paths:
            raise PydanticCustomError("missing", "is not set")
        if source is Source.CLUSTER and paths:
            # To leave these files out in silence would unload what they define.
            raise PydanticCustomError("unread", "is not read, as source is cluster; remove it, or set source to both")
        return paths

    @property
    def jobs(self) -> JobSettings:
        """The settings of build and sign Jobs."""
        return JobSettings(builder=self.builder, build=self.build, sign=self.sign)


def read_settings(project: str, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the running stack.

    The engine passes all configuration as one JSON object of texts; reading that rather than key by key is what
    makes a misspelt key an error. Raises SettingsError with every problem and the command that repairs it.
    """
    given: dict[str, str] = json.loads(environment.get("PULUMI_CONFIG", "{}"))
    secrets = json.loads(environment.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))
    own = {
        name: _ENCRYPTED if key in secrets else text if name in _PATHS_AND_NAMES else _parsed(text)
        for key, text in given.items()
        for namespace, _, name in [key.partition(":")]
        if namespace == project and text != ""
    }
    return checked_settings(project, own)


def checked_settings(project: str, own: Mapping[str, Any]) -> Settings:
    """The settings of these values, by their keys without `kmm:`. Raises SettingsError with every problem."""
    try:
        return Settings.model_validate(own)
    except ValidationError as error:
        raise SettingsError("\n".join(_problem(project, one) for one in error.errors())) from error


def setting_warnings(settings: Settings, plan: Plan) -> Iterator[str]:
    """What to look at in the settings, for what is planned."""
    if settings.image_check is not ImageCheck.REGISTRY:
        taken = settings.image_check.removeprefix("assume-")
        yield f"kmm:imageCheck is {settings.image_check}: no registry was asked, images are taken for {taken}"
        if settings.pin_digests:
            yield UNPINNED
    yield from map(str, job_warnings(plan, settings.jobs))


def _parsed(text: str) -> Any:  # noqa: ANN401 (pydantic judges it)
    """Arrays and objects arrive as JSON; a text stays as it is, even if it looks like a number."""
    try:
        return json.loads(text) if text[:1] in "[{" else text
    except ValueError:
        return text


def _is_encrypted(value: object) -> bool:
    """Whether a value, as a stack's file has it, is a secret or holds one."""
    match value:
        case {"secure": str(), **others} if not others:
            return True
        case dict():
            return any(map(_is_encrypted, value.values()))
        case list():
            return any(map(_is_encrypted, value))
    return False


def _problem(project: str, error: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    key = _path(project, error["loc"])
    if error["type"] == "missing":
        return f"{key} is not set. Set it: pulumi config set --path '{key}[0]' PATH"
    if error["type"] == "extra_forbidden":
        return _unknown(project, error["loc"])
    if error["type"] == "secret":
        return (
            f"{key} is a secret, and no setting can be: the state and the cluster have them in plain text. Set it anew "
            "without --secret. What a build must not show belongs into build.secrets of the Module, credentials for "
            "the cluster into the file that kmm:kubeconfig names"
        )
    words = EXPECTED.get(error["type"], error["msg"])
    remedy = f". Set it: pulumi config set --path {quote(key + _PARTS[words])} VALUE" if words in _PARTS else ""
    return f"{key}: {words}; given: {error['input']!r}{remedy}"


def _unknown(project: str, location: Sequence[str | int]) -> str:
    *parents, name = location
    key, known = _path(project, location), known_keys(Settings, parents)
    whole = re.split(r"[.[]", str(name))[0]
    if not parents and whole in known:
        return (
            f"{key} is no part of {project}:{whole}, for it was set without --path. Remove it: pulumi config rm "
            f"{quote(key)}. Set it: pulumi config set --path {quote(key)} VALUE"
        )
    near = closest_key(str(name), known)
    hint = f"; did you mean {_path(project, [*parents, near])}?" if near else "."
    place, option = (f"of {_path(project, parents)} ", "--path ") if parents else ("", "")
    return (
        f"{key} is not a setting{hint} Settings {place}are: {', '.join(known)}. "
        f"Remove it: pulumi config rm {option}{quote(key)}"
    )


def _path(project: str, location: Iterable[str | int]) -> str:
    """Where a value is, as `--path` takes it."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{project}:{''.join(steps).removeprefix('.')}"
