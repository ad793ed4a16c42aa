"""What every builder gets and gives. Where things are in the pod is the same for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kmm.definition import TLSOptions
from kmm.manifests.common import Manifest

WORKSPACE: Final = "/workspace"  # the build context: nothing but the Dockerfile, as in the operator
DOCKERFILE: Final = f"{WORKSPACE}/Dockerfile"
CONFIGURATION: Final = "/run/kmm/builder.conf"
REGISTRY_LOGIN: Final = "/run/kmm/registry"  # a folder with a `config.json` of docker's format


@dataclass(frozen=True)
class BuildRequest:
    """One image to build and push.

    Each of `secrets` is a Secret whose keys are files below `secret_path(name)`, in the builder's own file
    system; RUN steps must find them there too. `has_login` says whether REGISTRY_LOGIN is there.
    """

    image: str
    dockerfile: str
    build_arguments: Mapping[str, str]
    secrets: tuple[str, ...]
    pull_tls: TLSOptions
    push_tls: TLSOptions
    has_login: bool
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class BuildContainer:
    """How a builder answers a request.

    `dockerfile` is the text that it builds from. `storage` is its folder for layers, on the node's disk for as long
    as the pod lives. `configuration` is the text of CONFIGURATION; empty for no such file.
    """

    dockerfile: str
    security_context: Manifest
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    storage: str | None = None
    configuration: str = ""


@dataclass(frozen=True)
class BuilderTool:
    """A builder: the image that is taken when the settings name none, and how it is called there."""

    image: str
    container: Callable[[BuildRequest], BuildContainer]


def secret_path(name: str) -> str:
    """Folder of a Secret of `build.secrets`, in the container and in RUN steps."""
    return f"/run/secrets/{name}"


def build_argument_flags(request: BuildRequest) -> list[str]:
    """`--build-arg NAME=VALUE` for each, as buildah and kaniko take them."""
    pairs = (f"{name}={value}" for name, value in request.build_arguments.items())
    return [word for pair in pairs for word in ("--build-arg", pair)]
