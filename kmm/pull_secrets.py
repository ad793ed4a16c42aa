"""The registry logins that Modules name by `imageRepoSecret`, read from the cluster."""

from collections.abc import Iterable, Mapping

from kmm.cluster.client import Cluster
from kmm.definition import Module
from kmm.docker_config import DockerConfig

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
        secret: DockerConfig.parse_pull_secret(data, f"Secret {'/'.join(secret)}")
        for secret, data in found.items()
        if data is not None
    }
