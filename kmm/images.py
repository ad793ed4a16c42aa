"""Image references: which registry, repository and version a name such as `alpine` stands for. Pure.

The grammar and the rule for short names are those of docker, containerd and the kubelet
(github.com/distribution/reference).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_HOSTS: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
MAX_TAG: Final = 128
_MAX_NAME: Final = 255
_HASH_LENGTH: Final = 10

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_TAG - 1}}}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image's full name; `tag` is `latest` when the image names neither tag nor digest."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, image: str) -> Self:
        """The reference that `image` stands for; ValueError says which part is wrong and what is allowed."""
        name, at, digest = image.partition("@")
        registry, path = _split_registry(name)
        repository, colon, tag = path.partition(":")
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        _check("registry host", registry, _HOST, "a host name, with :PORT if need be")
        _check("repository", repository, _REPOSITORY, "lower-case letters and digits, in between . _ - and /")
        if colon:
            _check("tag", tag, _TAG, f"1 to {MAX_TAG} letters, digits, _ . -, the first not . or -")
        if at:
            _check("digest", digest, _DIGEST, "sha256: and 64 hexadecimal digits")
        if len(registry) + 1 + len(repository) > _MAX_NAME:
            raise ValueError(f"the name is longer than {_MAX_NAME} characters")
        return cls(registry, repository, tag if colon else None if at else "latest", digest if at else None)

    @property
    def host(self) -> str:
        """Where the registry's API is; not the registry's name on Docker Hub."""
        return "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry

    @property
    def version(self) -> str:
        """By what the manifest is asked for: the digest rather than the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def unsigned_image(image: str, namespace: str, name: str) -> str:
    """The image between build and sign Job of a Module: the operator's name for it.

    A tag that would be longer than a registry takes is cut and ends in a hash of the whole.
    """
    folder, slash, last = image.partition("@")[0].rpartition("/")
    repository, _, tag = last.partition(":")
    tag = "-".join(filter(None, (tag, f"{namespace}_{name}_kmm_unsigned")))
    if len(tag) > MAX_TAG:
        digest = hashlib.sha256(tag.encode()).hexdigest()[:_HASH_LENGTH]
        tag = f"{tag[: MAX_TAG - _HASH_LENGTH - 1]}-{digest}"
    return f"{folder}{slash}{repository}:{tag}"


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # An upper-case first part cannot be a repository, so it is a host.
    is_host = any(character in first for character in ".:") or first == "localhost" or first != first.lower()
    if not (slash and is_host):
        return DOCKER_HUB, name
    return (DOCKER_HUB if first in DOCKER_HUB_HOSTS else first), rest


def _check(part: str, value: str, allowed: re.Pattern[str], description: str) -> None:
    if not allowed.fullmatch(value):
        shown = repr(value) if value else "empty"
        raise ValueError(f"its {part} is {shown}; allowed: {description}")
