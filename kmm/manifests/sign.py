"""The sign Job: signs the kernel modules in an unsigned image and pushes the result. `loader-image/signer` does it."""

from typing import Final

from kmm.definition import Sign, TLSOptions
from kmm.errors import PlanError
from kmm.jobs import SignSettings
from kmm.manifests.common import Manifest
from kmm.manifests.job import (
    JobType,
    Mounted,
    container_resources,
    environment,
    job,
    mounted_secret,
    registry_login,
    verbatim,
)
from kmm.mapping import ResolvedKernel

SIGNING_KEY: Final = "key"
SIGNING_CERTIFICATE: Final = "cert"
_KEY_FOLDER: Final = "/run/secrets/signing-key"
_CERTIFICATE_FOLDER: Final = "/run/secrets/signing-cert"
_LOGIN_FOLDER: Final = "/run/kmm/registry"
_SCRATCH: Final = "/tmp"  # noqa: S108 (a volume of the pod's own)


def sign_manifest(resolved: ResolvedKernel, sign: Sign, settings: SignSettings) -> Manifest:
    """The Job that makes `resolved.image` of the unsigned image. It needs no root and no capability.

    Raises PlanError when no signer is known.
    """
    mounted = [
        mounted_secret("signing-key", sign.key_secret.name, _KEY_FOLDER, _only(SIGNING_KEY)),
        mounted_secret("signing-cert", sign.cert_secret.name, _CERTIFICATE_FOLDER, _only(SIGNING_CERTIFICATE)),
        registry_login(resolved.module, _LOGIN_FOLDER),
        _scratch(),
    ]
    files = {"args": [verbatim(file) for file in sign.files_to_sign]} if sign.files_to_sign else {}
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "signer",
                "image": signer_image(resolved, settings),
                **files,
                **environment(_variables(resolved)),
                **container_resources(settings),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "volumeMounts": [mount for _, mounts in mounted for mount in mounts],
            }
        ],
        "volumes": [volume for volumes, _ in mounted for volume in volumes],
    }
    return job(resolved, JobType.SIGN, settings, pod)


def signer_image(resolved: ResolvedKernel, settings: SignSettings) -> str:
    """The signer's image. Nobody publishes one: PlanError says how to make it."""
    if settings.image is None:
        raise PlanError(
            f"{resolved.module.key}: kernel {resolved.kernel} needs a sign Job, and kmm:sign.image is not set."
            " Build the signer and push it to a registry of yours (loader-image/README.md), then:"
            " pulumi config set --path 'kmm:sign.image' IMAGE"
        )
    return settings.image


def _variables(resolved: ResolvedKernel) -> dict[str, str]:
    login = {"REGISTRY_AUTH_FILE": f"{_LOGIN_FOLDER}/config.json"} if resolved.module.spec.image_repo_secret else {}
    return {
        "UNSIGNED_IMAGE": resolved.build_image,
        "SIGNED_IMAGE": resolved.image,
        "KEY_FILE": f"{_KEY_FOLDER}/{SIGNING_KEY}",
        "CERT_FILE": f"{_CERTIFICATE_FOLDER}/{SIGNING_CERTIFICATE}",
        "MODULES_DIR": resolved.module.spec.module_loader.container.modprobe.dir_name or "/",
        "PULL_TLS_VERIFY": _verify(resolved.unsigned_image_tls),
        "PUSH_TLS_VERIFY": _verify(resolved.registry_tls),
        "TMPDIR": _SCRATCH,
        **login,
    }


def _verify(tls: TLSOptions) -> str:
    """skopeo has one flag for both: without verification it also tries plain HTTP."""
    return "false" if tls.insecure or tls.insecure_skip_tls_verify else "true"


def _only(key: str) -> list[Manifest]:
    return [{"key": key, "path": key}]


def _scratch() -> Mounted:
    """Where the image is unpacked; the signer's own file system is read-only."""
    return [{"name": "scratch", "emptyDir": {}}], [{"name": "scratch", "mountPath": _SCRATCH}]
