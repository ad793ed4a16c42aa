"""buildah in a pod: RUN steps in a chroot, no container runtime inside the container.

Needs: root in the container, with the default capabilities and no more; no privilege, nothing of the host. The
default seccomp and AppArmor profiles of container runtimes refuse the user namespace and the bind mounts of which
buildah makes the chroot, hence Unconfined (github.com/containers/buildah, issues 2871 and 4538). Escalation stays
allowed, here and in kaniko, for RUN steps of another user that call sudo. Of each Secret an empty folder stays behind
in the image.
"""

import shlex
from typing import Final

from kmm.definition import TLSOptions
from kmm.manifests.builders.interface import (
    DOCKERFILE,
    REGISTRY_LOGIN,
    WORKSPACE,
    BuildContainer,
    BuilderTool,
    BuildRequest,
    build_argument_flags,
    secret_path,
)

_UNCONFINED: Final = {"type": "Unconfined"}


def _container(request: BuildRequest) -> BuildContainer:
    login = {"REGISTRY_AUTH_FILE": f"{REGISTRY_LOGIN}/config.json"} if request.has_login else {}
    script = f"{shlex.join(_build(request))} && exec {shlex.join(_push(request))}"
    return BuildContainer(
        dockerfile=request.dockerfile,
        command=("/bin/sh", "-c", script),
        environment={"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **login},
        storage="/var/lib/containers",
        security_context={
            "runAsUser": 0,
            "seccompProfile": _UNCONFINED,
            "appArmorProfile": _UNCONFINED,
        },
    )


def _build(request: BuildRequest) -> list[str]:
    """Docker's image format: that of OCI has no SHELL, which buildah would then leave out."""
    volumes = (f"{secret_path(name)}:{secret_path(name)}:ro" for name in request.secrets)
    return [
        *("buildah", "bud", "--format=docker", f"--tls-verify={_verify(request.pull_tls)}"),
        *build_argument_flags(request),
        *(word for volume in volumes for word in ("--volume", volume)),
        *("--file", DOCKERFILE, "--tag", request.image),
        *request.arguments,
        WORKSPACE,
    ]


def _push(request: BuildRequest) -> list[str]:
    return ["buildah", "push", f"--tls-verify={_verify(request.push_tls)}", request.image]


def _verify(tls: TLSOptions) -> str:
    """buildah has one flag for both: without verification it also tries plain HTTP."""
    return "false" if tls.insecure or tls.insecure_skip_tls_verify else "true"


BUILDAH: Final = BuilderTool("quay.io/buildah/stable:v1.43.0", _container)
