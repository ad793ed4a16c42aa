"""The build Job: makes the image of one kernel from the Module's Dockerfile."""

from dataclasses import dataclass
from typing import Final

from kmm.definition import Build, TLSOptions
from kmm.images import ImageReference
from kmm.jobs import Builder, JobSettings
from kmm.kernel import template_variables
from kmm.manifests.build_context import DOCKERFILE, BuildContext, build_context_manifest
from kmm.manifests.builders import BUILDERS, BuildContainer, BuildRequest
from kmm.manifests.builders.interface import CONFIGURATION, REGISTRY_LOGIN, WORKSPACE, secret_path
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

_CONTEXT: Final = "context"
_STORAGE: Final = "storage"
_CONFIGURATION_KEY: Final = ".kmm-configuration"
_OWN_BUILD_ARGUMENTS: Final = ("KERNEL_VERSION", "KERNEL_FULL_VERSION", "MOD_NAME", "MOD_NAMESPACE")


@dataclass(frozen=True)
class BuildManifests:
    """A build Job and the ConfigMap that it builds from."""

    context: Manifest
    job: Manifest


def build_manifests(
    resolved: ResolvedKernel, build: Build, context: BuildContext, settings: JobSettings
) -> BuildManifests:
    """The Job that builds `resolved.build_image`."""
    container = BUILDERS[settings.builder].container(_request(resolved, build, context, settings))
    config_map = _config_map(resolved, context, container)
    mounted = [
        _context(config_map, context, container),
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
    return BuildManifests(config_map, job(resolved, JobType.BUILD, settings.build, pod))


def builder_image(build: Build, settings: JobSettings) -> str:
    """The builder's image: the settings' or its own; `kanikoParams.tag` replaces the tag of kaniko's."""
    image = settings.build.image or BUILDERS[settings.builder].image
    tag = build.kaniko_params.tag if build.kaniko_params else None
    if settings.builder is not Builder.KANIKO or tag is None:
        return image
    reference = ImageReference.parse(image)
    return f"{reference.registry}/{reference.repository}:{tag}"


def _request(resolved: ResolvedKernel, build: Build, context: BuildContext, settings: JobSettings) -> BuildRequest:
    return BuildRequest(
        image=resolved.build_image,
        dockerfile=context.dockerfile,
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


def _config_map(resolved: ResolvedKernel, context: BuildContext, container: BuildContainer) -> Manifest:
    configuration = {_CONFIGURATION_KEY: container.configuration} if container.configuration else {}
    texts = {**context.texts, DOCKERFILE: container.dockerfile, **configuration}
    return build_context_manifest(resolved.module, texts, context.binaries)


def _context(config_map: Manifest, context: BuildContext, container: BuildContainer) -> Mounted:
    """Each file is mounted by itself: in a folder, Kubernetes makes them links, and some builders copy links."""
    paths = {name: f"{WORKSPACE}/{name}" for name in context.files}
    if container.configuration:
        paths[_CONFIGURATION_KEY] = CONFIGURATION
    mounts = [{"name": _CONTEXT, "mountPath": path, "subPath": name, "readOnly": True} for name, path in paths.items()]
    return [{"name": _CONTEXT, "configMap": {"name": config_map["metadata"]["name"]}}], mounts


def _storage(container: BuildContainer) -> Mounted:
    if container.storage is None:
        return [], []
    return [{"name": _STORAGE, "emptyDir": {}}], [{"name": _STORAGE, "mountPath": container.storage}]
