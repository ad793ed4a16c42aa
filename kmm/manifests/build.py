"""The build Job: makes the image of one kernel from the Module's Dockerfile."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from kmm.definition import Build, TLSOptions
from kmm.errors import PlanError
from kmm.images import ImageReference
from kmm.jobs import Builder, JobSettings
from kmm.kernel import template_variables
from kmm.manifests.builders import BUILDERS, BuildContainer, BuildRequest
from kmm.manifests.builders.interface import CONFIGURATION, DOCKERFILE, REGISTRY_LOGIN, secret_path
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

DOCKERFILE_KEYS: Final = ("dockerfile", "Dockerfile")  # in a ConfigMap: the operator's, and that of the v1.0 documents
_TEXTS: Final = "texts"
_STORAGE: Final = "storage"
_OWN_BUILD_ARGUMENTS: Final = ("KERNEL_VERSION", "KERNEL_FULL_VERSION", "MOD_NAME", "MOD_NAMESPACE")
_MAX_ANNOTATIONS: Final = 256 * 1024  # bytes; the API's limit for all annotations of an object


def build_manifest(resolved: ResolvedKernel, build: Build, dockerfile: str, settings: JobSettings) -> Manifest:
    """The Job that builds `resolved.build_image` from the text of a Dockerfile.

    The text travels in the pod template: what is built is what was read and shown, whatever becomes of the ConfigMap.
    Raises PlanError when it is too long for that.
    """
    container = BUILDERS[settings.builder].container(_request(resolved, build, dockerfile, settings))
    texts = {DOCKERFILE: container.dockerfile}
    if container.configuration:
        texts[CONFIGURATION] = container.configuration
    mounted = [
        _texts(texts),
        registry_login(resolved.module, REGISTRY_LOGIN),
        *(
            mounted_secret(f"secret-{index}", secret.name, secret_path(secret.name))
            for index, secret in enumerate(build.secrets)
        ),
        _storage(container),
    ]
    pod = {
        "containers": [
            {
                "name": settings.builder.value,
                "image": builder_image(build, settings),
                **_command(container),
                **environment(container.environment),
                **container_resources(settings.build),
                "securityContext": container.security_context,
                "volumeMounts": [mount for _, mounts in mounted for mount in mounts],
            }
        ],
        "volumes": [volume for volumes, _ in mounted for volume in volumes],
    }
    return job(resolved, JobType.BUILD, settings.build, pod, _annotations(resolved, build, texts))


def dockerfile_text(data: Mapping[str, str]) -> str | None:
    """The Dockerfile in the `data` of a ConfigMap, None when neither of its keys is there."""
    return next((data[key] for key in DOCKERFILE_KEYS if key in data), None)


def builder_image(build: Build, settings: JobSettings) -> str:
    """The builder's image: the settings' or its own; `kanikoParams.tag` replaces the tag of kaniko's."""
    image = settings.build.image or BUILDERS[settings.builder].image
    tag = build.kaniko_params.tag if build.kaniko_params else None
    if settings.builder is not Builder.KANIKO or tag is None:
        return image
    return str(replace(ImageReference.parse(image), tag=tag, digest=None))


def _request(resolved: ResolvedKernel, build: Build, dockerfile: str, settings: JobSettings) -> BuildRequest:
    return BuildRequest(
        image=resolved.build_image,
        dockerfile=dockerfile,
        build_arguments=_build_arguments(resolved, build),
        secrets=tuple(secret.name for secret in build.secrets),
        pull_tls=build.base_image_registry_tls or TLSOptions(),
        push_tls=resolved.registry_tls,
        has_login=resolved.module.spec.image_repo_secret is not None,
        arguments=settings.build.arguments,
    )


def _build_arguments(resolved: ResolvedKernel, build: Build) -> dict[str, str]:
    metadata = resolved.module.metadata
    variables = template_variables(resolved.kernel, metadata.name, metadata.namespace)
    own = {name: variables[name] for name in _OWN_BUILD_ARGUMENTS}
    return {argument.name: argument.value for argument in build.build_args} | own


def _command(container: BuildContainer) -> Manifest:
    words = {"command": container.command, "args": container.args}
    return {field: [verbatim(word) for word in given] for field, given in words.items() if given}


def _texts(texts: Mapping[str, str]) -> Mounted:
    """Files with texts of the pod's annotations, each mounted by itself: in a folder Kubernetes makes them links."""
    names = {path: _annotation(path) for path in texts}
    items = [{"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{name}']"}} for name in names.values()]
    mounts = [{"name": _TEXTS, "mountPath": path, "subPath": name, "readOnly": True} for path, name in names.items()]
    return [{"name": _TEXTS, "downwardAPI": {"items": items}}], mounts


def _annotations(resolved: ResolvedKernel, build: Build, texts: Mapping[str, str]) -> dict[str, str]:
    annotations = {_annotation(path): text for path, text in texts.items()}
    if sum(len((name + text).encode()) for name, text in annotations.items()) > _MAX_ANNOTATIONS:
        module = resolved.module
        raise PlanError(
            f"{module.key}: the Dockerfile in ConfigMap {module.metadata.namespace}/{build.dockerfile_config_map.name}"
            f" is too long: a build Job takes {_MAX_ANNOTATIONS // 1024} KiB. Fetch larger parts in RUN steps"
        )
    return annotations


def _annotation(path: str) -> str:
    return PurePosixPath(path).name


def _storage(container: BuildContainer) -> Mounted:
    if container.storage is None:
        return [], []
    return [{"name": _STORAGE, "emptyDir": {}}], [{"name": _STORAGE, "mountPath": container.storage}]
