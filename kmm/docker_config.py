"""Registry logins in docker's configuration format: which of them are for an image. Pure.

Both the user's own `config.json` and pull Secrets have it. Entries are matched as the kubelet does
(k8s.io/kubernetes/pkg/credentialprovider/keyring.go), so that a check sees what a node's pull will see.
No secret value is ever part of a message or a `repr`.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kmm.errors import RegistryError
from kmm.images import DOCKER_HUB, DOCKER_HUB_HOSTS, ImageReference

CONFIG_KEY: Final = ".dockerconfigjson"
LEGACY_CONFIG_KEY: Final = ".dockercfg"


@dataclass(frozen=True, slots=True)
class Credential:
    """A login: user name and password, or an OAuth2 identity token. `origin` says where it was found."""

    origin: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Logins by registry pattern, most specific first, and the programs that know more of them.

    `helpers` maps a registry to the suffix of its `docker-credential-…` program; `store` is the suffix of the
    one for all other registries, or empty.
    """

    origin: str
    logins: tuple[tuple[str, Credential], ...] = ()
    helpers: tuple[tuple[str, str], ...] = ()
    store: str = ""

    @classmethod
    def parse(cls, text: bytes, origin: str) -> Self:
        """A `config.json`; RegistryError names `origin` and the field that is wrong."""
        file = _validate(_ConfigFile, text, origin)
        return cls(
            origin,
            _logins(file.auths or {}, origin),
            tuple((_pattern(server), helper) for server, helper in (file.credHelpers or {}).items()),
            file.credsStore or "",
        )

    @classmethod
    def parse_pull_secret(cls, data: Mapping[str, str], origin: str) -> Self:
        """The `data` (base64 values) of a Secret of type kubernetes.io/dockerconfigjson or …/dockercfg.

        RegistryError names `origin`, for example `Secret modules/pull`, and what is missing or wrong.
        """
        key = next((key for key in (CONFIG_KEY, LEGACY_CONFIG_KEY) if data.get(key)), None)
        if key is None:
            raise RegistryError(
                f"{origin} has neither {CONFIG_KEY} nor {LEGACY_CONFIG_KEY};"
                " make it with `kubectl create secret docker-registry`"
            )
        try:
            text = base64.b64decode(data[key], validate=True)
        except binascii.Error:
            raise RegistryError(f"{origin}: {key} is not base64") from None
        if key == LEGACY_CONFIG_KEY:
            text = b'{"auths":' + text + b"}"
        return cls(origin, cls.parse(text, origin).logins)  # a node runs no helpers for a Secret

    def credentials(self, image: ImageReference) -> tuple[Credential, ...]:
        """The logins for this image; the kubelet tries them in this order."""
        return tuple(credential for pattern, credential in self.logins if _matches(pattern, image))

    def helper(self, image: ImageReference) -> str | None:
        """Suffix of the `docker-credential-…` program to ask for this image's registry, if any."""
        return dict(self.helpers).get(image.registry, self.store) or None


class _Entry(BaseModel):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _ConfigFile(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    auths: dict[str, _Entry] | None = None
    credHelpers: dict[str, str] | None = None  # noqa: N815 - docker's spelling
    credsStore: str | None = None  # noqa: N815


def _validate(model: type[_ConfigFile], text: bytes, origin: str) -> _ConfigFile:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise RegistryError(f"{origin} is not a docker configuration: {'; '.join(problems)}") from None


def _logins(entries: Mapping[str, _Entry], origin: str) -> tuple[tuple[str, Credential], ...]:
    found = [
        (_pattern(server), _credential(entry, server, origin))
        for server, entry in entries.items()
        if entry.auth or entry.username or entry.identitytoken  # empty where a credential store has the login
    ]
    # Reversed, `host/path` comes before `host`, and `*.example.org` after all names.
    return tuple(sorted(found, key=lambda login: login[0], reverse=True))


def _credential(entry: _Entry, server: str, origin: str) -> Credential:
    if not entry.auth:
        return Credential(origin, entry.username, entry.password, entry.identitytoken)
    try:
        padded = entry.auth + "=" * (-len(entry.auth) % 4)
        username, colon, password = base64.b64decode(padded, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise RegistryError(f"{origin}: auths[{server!r}].auth is not base64 of USER:PASSWORD")
    return Credential(origin, username, password.rstrip("\0"), entry.identitytoken)


def _pattern(server: str) -> str:
    """`https://host/v1/path/` and the like as `host/path`; Docker Hub's old names as its name."""
    host, _, path = re.sub(r"^https?://", "", server).partition("/")
    path = re.sub(r"^v[12](/|$)", "", path).rstrip("/")
    return "/".join(filter(None, (DOCKER_HUB if host in DOCKER_HUB_HOSTS else host, path)))


def _matches(pattern: str, image: ImageReference) -> bool:
    host, _, path = pattern.partition("/")
    labels, port = _split_host(host)
    image_labels, image_port = _split_host(image.registry)
    return (
        port == image_port
        and len(labels) == len(image_labels)
        and all(map(fnmatchcase, image_labels, labels))
        and image.repository.startswith(path)
    )


def _split_host(host: str) -> tuple[list[str], str]:
    name, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
    return name.split("."), port
