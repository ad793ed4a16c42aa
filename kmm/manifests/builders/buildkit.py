"""BuildKit without root: its daemon runs as an ordinary user for the time of one build.

Needs: user namespaces on the node, and a container whose seccomp and AppArmor profiles are Unconfined and that may
escalate (`newuidmap` is setuid), because the runtimes' default profiles refuse the mounts of a user namespace.
No root, no privilege, nothing of the host. `--oci-worker-no-process-sandbox` spares what would need a privileged
/proc; RUN steps then see (and could kill) the build's own processes. Source: docs/rootless.md of moby/buildkit.

BuildKit has no flag that mounts a folder in every RUN step, and reaches registries as its daemon's configuration
says, host by host: the Dockerfile is changed and searched for that (`dockerfile.py` has the limits).
"""

import json
from collections.abc import Iterator
from typing import Final

from kmm.definition import TLSOptions
from kmm.images import ImageReference
from kmm.manifests.builders.dockerfile import base_images, mount_in_run_steps
from kmm.manifests.builders.interface import (
    CONFIGURATION,
    REGISTRY_LOGIN,
    WORKSPACE,
    BuildContainer,
    BuilderTool,
    BuildRequest,
    secret_path,
)

_USER: Final = 1000  # the image's own; another one has no range of user IDs there
# About 40 s for the daemon to start: on busy nodes the default of 2 s fails builds (issue 1423 of moby/buildkit).
_TRIES: Final = "60"
_UNCONFINED: Final = {"type": "Unconfined"}


def _container(request: BuildRequest) -> BuildContainer:
    registries = _registries(request)
    daemon = ["--oci-worker-no-process-sandbox", *(["--config", CONFIGURATION] if registries else [])]
    mounts = [f"type=bind,from={_context(name)},target={secret_path(name)}" for name in request.secrets]
    return BuildContainer(
        dockerfile=mount_in_run_steps(request.dockerfile, mounts),
        configuration=registries,
        command=("buildctl-daemonless.sh",),
        args=tuple(_arguments(request)),
        environment={"BUILDKITD_FLAGS": " ".join(daemon), "BUILDCTL_CONNECT_RETRIES_MAX": _TRIES}
        | ({"DOCKER_CONFIG": REGISTRY_LOGIN} if request.has_login else {}),
        storage="/home/user/.local/share/buildkit",
        security_context={
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": _UNCONFINED,
            "appArmorProfile": _UNCONFINED,
        },
    )


def _arguments(request: BuildRequest) -> Iterator[str]:
    yield from ("build", "--progress=plain", "--frontend=dockerfile.v0")
    yield from (f"--local=context={WORKSPACE}", f"--local=dockerfile={WORKSPACE}")
    for name, value in request.build_arguments.items():
        yield from ("--opt", f"build-arg:{name}={value}")
    for name in request.secrets:
        yield from ("--local", f"{_context(name)}={secret_path(name)}")
        yield from ("--opt", f"context:{_context(name)}=local:{_context(name)}")
    yield from ("--output", f"type=image,name={request.image},push=true")
    yield from request.arguments


def _context(secret: str) -> str:
    """Name of the build context that is this Secret; the prefix keeps it apart from stages of the Dockerfile."""
    return f"kmm-secret-{secret}"


def _registries(request: BuildRequest) -> str:
    """The daemon's configuration (TOML) for registries that need not prove who they are; empty without any.

    Where the same host is pulled from and pushed to, what either allows holds for both.
    """
    hosts: dict[str, list[TLSOptions]] = {ImageReference.parse(request.image).registry: [request.push_tls]}
    for image in base_images(request.dockerfile, request.build_arguments):
        hosts.setdefault(image.registry, []).append(request.pull_tls)
    return "".join(_registry(host, options) for host, options in sorted(hosts.items()))


def _registry(host: str, options: list[TLSOptions]) -> str:
    http = any(tls.insecure for tls in options)
    skip_verification = any(tls.insecure_skip_tls_verify for tls in options)
    if not (http or skip_verification):
        return ""
    settings = {"http": http, "insecure": skip_verification}
    lines = (f"{key} = true\n" for key, is_set in settings.items() if is_set)
    return f"[registry.{json.dumps(host)}]\n{''.join(lines)}"


BUILDKIT: Final = BuilderTool("docker.io/moby/buildkit:v0.29.0-rootless", _container)
