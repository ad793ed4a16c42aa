"""The registry logins that Modules name by `imageRepoSecret`, read from the cluster, and registries asked with them."""

from collections.abc import Collection, Iterable, Mapping

from kmm.cluster.client import Cluster
from kmm.definition import Module
from kmm.docker_config import DockerConfig
from kmm.mapping import ResolvedKernel
from kmm.registry import ImageRequest, check_images

PullSecrets = Mapping[tuple[str, str], DockerConfig]  # by namespace and name


def named_secrets(modules: Iterable[Module]) -> tuple[tuple[str, str], ...]:
    """Namespace and name of each Secret that these Modules name, sorted."""
    named = {
        (module.metadata.namespace, module.spec.image_repo_secret.name)
        for module in modules
        if module.spec.image_repo_secret is not None
    }
    return tuple(sorted(named))


def read_pull_secrets(cluster: Cluster, secrets: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DockerConfig]:
    """Those of the Secrets that exist.

    Raises ClusterError when one can't be read, RegistryError when one holds no logins.
    """
    found = {secret: cluster.secret(*secret) for secret in secrets}
    return {
        secret: DockerConfig.parse_pull_secret(data, _origin(secret))
        for secret, data in found.items()
        if data is not None
    }


def image_request(kernel: ResolvedKernel, image: str, secrets: PullSecrets) -> ImageRequest:
    """How a registry is asked for an image of a Module; a Secret that is not among `secrets` has no logins."""
    secret = kernel.module.spec.image_repo_secret
    key = (kernel.module.metadata.namespace, secret.name) if secret else None
    tls = kernel.unsigned_image_tls if image == kernel.unsigned_image else kernel.registry_tls
    return ImageRequest(
        image,
        tls.insecure,
        tls.insecure_skip_tls_verify,
        secrets.get(key, DockerConfig(_origin(key))) if key else None,
    )


def check_with_logins(
    cluster: Cluster, wanted: Collection[tuple[ResolvedKernel, str]], advice: str
) -> dict[str, str | None]:
    """The digest of each image of these kernels, None for an absent one, with the logins that their Modules name.

    Raises what `read_pull_secrets` and `check_images` raise; `advice` is for the latter.
    """
    secrets = read_pull_secrets(cluster, named_secrets(kernel.module for kernel, _ in wanted))
    return check_images((image_request(kernel, image, secrets) for kernel, image in wanted), advice)


def _origin(secret: tuple[str, str]) -> str:
    return f"Secret {'/'.join(secret)}"
