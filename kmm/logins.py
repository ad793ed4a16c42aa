"""The user's own registry logins: the files of docker and podman, and the credential helpers these name."""

import os
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kmm.docker_config import Credential, DockerConfig
from kmm.errors import RegistryError
from kmm.images import DOCKER_HUB, ImageReference

_HELPER_TIMEOUT = 60.0  # seconds; a helper may wait for somebody to unlock a key store
_TOKEN_USER = "<token>"  # noqa: S105 - by which a helper says that its secret is an identity token
_NOT_FOUND = "credentials not found in native keychain"


class UserLogins:
    """The logins of the user who runs the program; read when first asked for, each helper once per registry.

    Can be shared between threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._helped: dict[tuple[str, str], Credential | RegistryError | None] = {}

    def credentials(self, image: ImageReference) -> tuple[Credential, ...]:
        """The logins to try for this image; RegistryError if a file or a helper can't be used."""
        with self._lock:
            return tuple(self._find(image))

    def _find(self, image: ImageReference) -> Iterator[Credential]:
        for config in self._configs:
            if helper := config.helper(image):
                credential = self._helper_credential(helper, image.registry)
                if credential is not None:
                    yield credential
            yield from config.credentials(image)

    @cached_property
    def _configs(self) -> tuple[DockerConfig, ...]:
        return tuple(config for path in _config_paths() if (config := _read(path)) is not None)

    def _helper_credential(self, helper: str, registry: str) -> Credential | None:
        key = (helper, registry)
        if key not in self._helped:
            try:
                self._helped[key] = _ask_helper(helper, registry)
            except RegistryError as error:
                self._helped[key] = error
        answer = self._helped[key]
        if isinstance(answer, RegistryError):
            raise RegistryError(*answer.args)
        return answer


def _config_paths() -> Iterator[Path]:
    """Docker's file, then podman's, as their manuals say (docker(1); containers-auth.json(5))."""
    yield Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser() / "config.json"
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"


def _read(path: Path) -> DockerConfig | None:
    try:
        return DockerConfig.parse(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{path} with your registry logins can't be read: {error.strerror}") from error


class _HelperAnswer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = Field(alias="Username")
    secret: str = Field(alias="Secret")


def _ask_helper(helper: str, registry: str) -> Credential | None:
    """What `docker-credential-HELPER get` says; its protocol: github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    server = "https://index.docker.io/v1/" if registry == DOCKER_HUB else registry
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer in {_HELPER_TIMEOUT:.0f} s"
        raise RegistryError(f"{program}, which your docker configuration names: {reason}") from error
    if done.returncode:
        said = (done.stdout or done.stderr).decode(errors="replace").strip()
        if _NOT_FOUND in said:
            return None
        raise RegistryError(f"{program} get failed for {server}: {said or f'exit code {done.returncode}'}")
    try:
        answer = _HelperAnswer.model_validate_json(done.stdout)
    except ValidationError:
        raise RegistryError(f"{program} get gave no JSON with Username and Secret for {server}") from None
    if answer.username == _TOKEN_USER:
        return Credential(program, "", "", identity_token=answer.secret)
    return Credential(program, answer.username, answer.secret)
