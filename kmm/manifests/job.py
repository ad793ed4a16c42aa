"""What build and sign Jobs have in common."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from kmm.definition import Module, Toleration
from kmm.jobs import PodSettings
from kmm.manifests.common import FIELD_MANAGER, Manifest, metadata, pull_secrets, wire
from kmm.mapping import ResolvedKernel
from kmm.names import JOB_TYPE_LABEL, MODULE_NAME_LABEL, TARGET_KERNEL_LABEL, label_value, object_name

REGISTRY_LOGIN_KEY: Final = ".dockerconfigjson"
Mounted = tuple[list[Manifest], list[Manifest]]  # volumes of a pod, and their mounts in its container
# A pod that runs out of time keeps its log for us; one that the Job's deadline ends, as it never ran, is deleted. Each
# deadline leaves the one before it the time that a pod has to end, and the control plane to say so.
_MARGIN: Final = timedelta(minutes=1)


class JobType(StrEnum):
    """What a Job makes; value of the job-type label."""

    BUILD = "build"
    SIGN = "sign"


def job_name(resolved: ResolvedKernel, job_type: JobType) -> str:
    """Name of the Job, one for each (Module, kernel, type), whatever it builds.

    Of two Jobs that push to one tag side by side, the older may win. What a Job does is its pod template, with the
    text of the Dockerfile, and a template cannot be changed: Pulumi replaces the Job, the old one first.
    """
    return object_name(resolved.module.metadata.name, resolved.kernel, job_type)


def job(
    resolved: ResolvedKernel,
    job_type: JobType,
    settings: PodSettings,
    pod: Manifest,
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """The Job that runs `pod` once; `annotations` are the pod's.

    A failed Job is not tried again by Kubernetes: the next `up` replaces it (replaceUnready). No
    ttlSecondsAfterFinished: `up --refresh` would build again what the cluster cleaned up.
    """
    module = resolved.module
    labels = {
        MODULE_NAME_LABEL: module.metadata.name,
        TARGET_KERNEL_LABEL: label_value(resolved.kernel),
        JOB_TYPE_LABEL: job_type.value,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(module, job_name(resolved, job_type), labels, _provider_annotations(settings)),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": _seconds(settings.timeout + _MARGIN),
            "template": {
                "metadata": {"labels": labels} | ({"annotations": dict(annotations)} if annotations else {}),
                "spec": {
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": _seconds(settings.timeout),
                    "automountServiceAccountToken": False,
                    "nodeSelector": node_selector(resolved, settings),
                    **_tolerations(module, settings),
                    **pull_secrets(module),
                    **pod,
                },
            },
        },
    }


def node_selector(resolved: ResolvedKernel, settings: PodSettings) -> dict[str, str]:
    """Labels of the nodes that may run the Job: the Module's own nodes, where nothing else is asked for.

    `build.selector` and the settings' labels hold together; the settings' win.
    """
    build_selector = resolved.build.selector if resolved.build else {}
    return dict(build_selector) | dict(settings.node_selector) or dict(resolved.module.spec.selector)


def tolerations(module: Module, settings: PodSettings) -> tuple[Toleration, ...]:
    """The taints that the Job's pod bears: the Module's and the settings'."""
    return (*module.spec.tolerations, *settings.tolerations)


def container_resources(settings: PodSettings) -> Manifest:
    """`resources` of the container; nothing when none are set."""
    return {"resources": dict(settings.resources)} if settings.resources else {}


def environment(variables: Mapping[str, str]) -> Manifest:
    """`env` of a container; nothing without variables."""
    pairs = [{"name": name, "value": verbatim(value)} for name, value in variables.items()]
    return {"env": pairs} if pairs else {}


def verbatim(text: str) -> str:
    """`text` for a command, argument or variable, where Kubernetes replaces `$(NAME)` and `$$`."""
    return text.replace("$", "$$")


def registry_login(module: Module, folder: str) -> Mounted:
    """The login for pulls and pushes, as `config.json` in `folder`; nothing without imageRepoSecret."""
    secret = module.spec.image_repo_secret
    if secret is None:
        return [], []
    items = [{"key": REGISTRY_LOGIN_KEY, "path": "config.json"}]
    return mounted_secret("registry-login", secret.name, folder, items)


def mounted_secret(volume: str, secret: str, folder: str, items: Sequence[Manifest] = ()) -> Mounted:
    """A Secret, or some of its keys, as files in `folder`."""
    source = {"secretName": secret, **({"items": list(items)} if items else {})}
    return [{"name": volume, "secret": source}], [{"name": volume, "mountPath": folder, "readOnly": True}]


def _tolerations(module: Module, settings: PodSettings) -> Manifest:
    given = [wire(toleration) for toleration in tolerations(module, settings)]
    return {"tolerations": given} if given else {}


def _provider_annotations(settings: PodSettings) -> dict[str, str]:
    """Pulumi waits 10 minutes for a silent Job, unless told otherwise."""
    return FIELD_MANAGER | {
        "pulumi.com/replaceUnready": "true",
        "pulumi.com/timeoutSeconds": str(_seconds(settings.timeout + 2 * _MARGIN)),
    }


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
