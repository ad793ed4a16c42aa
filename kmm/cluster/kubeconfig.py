"""Which kubeconfig files and which context, by kubectl's rules, so that every part of a run means the same cluster.

The context is always resolved to a name: a `kubectl config use-context` between reading and writing changes nothing.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import Field, ValidationError

from kmm.errors import ClusterError
from kmm.wire import Nullable, Wire

DEFAULT_FILE: Final = "~/.kube/config"
IN_CLUSTER_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"  # the kubelet sets it in every container


@dataclass(frozen=True, slots=True)
class Access:
    """How a cluster is reached: paths and names only, no credentials.

    Without `files` and `context` it is the ServiceAccount of the pod that this runs in.
    `kubeconfig` is the explicit path, or empty: the files are those of the environment.
    """

    kubeconfig: str = ""
    files: tuple[str, ...] = ()
    context: str = ""
    proxy_url: str = ""

    def __str__(self) -> str:
        """For messages: `context C of FILE`."""
        return f"context {self.context!r} of {', '.join(self.files)}" if self.files else "this pod's own cluster"


class _Context(Wire):
    cluster: str


class _Cluster(Wire):
    proxy_url: Nullable[str] = Field("", alias="proxy-url")


class _NamedContext(Wire):
    name: str
    context: _Context


class _NamedCluster(Wire):
    name: str
    cluster: _Cluster


class _KubeConfig(Wire):
    contexts: Nullable[tuple[_NamedContext, ...]] = ()
    clusters: Nullable[tuple[_NamedCluster, ...]] = ()
    current_context: Nullable[str] = Field("", alias="current-context")


def resolve(kubeconfig: str | None, context: str | None) -> Access:
    """Find the kubeconfig files and the context; `None` or empty means not given.

    The order is kubectl's: `kubeconfig` (a path, `~` allowed), the files of `KUBECONFIG`, `~/.kube/config`, the pod's
    ServiceAccount. Raises ClusterError if a file can't be used or the context is in none.
    """
    files = _explicit_file(kubeconfig) if kubeconfig else _files_of_environment()
    if not files:
        return _in_cluster(context)
    parsed = {file: config for file in files if (config := _read(file))}
    configs = tuple(parsed.values())
    # In all files together the first mention of a name, and the first current context, win.
    clusters = {one.name: one.cluster for config in reversed(configs) for one in reversed(config.clusters)}
    contexts = {one.name: one.context for config in reversed(configs) for one in reversed(config.contexts)}
    name = context or next((config.current_context for config in configs if config.current_context), "")
    if name not in contexts:
        raise ClusterError(_no_context(name, files, sorted(contexts)))
    cluster = clusters.get(contexts[name].cluster)
    if cluster is None:
        raise ClusterError(
            f"{', '.join(files)}: context {name!r} names the cluster {contexts[name].cluster!r}, which is not there"
        )
    return Access(files[0] if kubeconfig else "", tuple(parsed), name, cluster.proxy_url)


def _explicit_file(kubeconfig: str) -> tuple[str, ...]:
    if "\n" in kubeconfig or kubeconfig.startswith("{"):
        raise ClusterError("kubeconfig must be the path of a file, not its content")
    path = Path(kubeconfig).expanduser().absolute()
    if not path.exists():
        raise ClusterError(f"kubeconfig {path}: no such file; set kmm:kubeconfig to an existing one, or unset it")
    return (str(path),)


def _files_of_environment() -> tuple[str, ...]:
    named = [Path(part).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    existing = tuple(str(path.absolute()) for path in named or [Path(DEFAULT_FILE).expanduser()] if path.exists())
    if named and not existing:
        raise ClusterError(f"KUBECONFIG names {', '.join(map(str, named))}: no such file")
    return existing


def _in_cluster(context: str | None) -> Access:
    if not os.environ.get(IN_CLUSTER_VARIABLE):
        raise ClusterError(
            f"no cluster to talk to: kmm:kubeconfig and KUBECONFIG are not set, there is no {DEFAULT_FILE}, and this "
            "is not a pod; set kmm:kubeconfig to a kubeconfig file"
        )
    if context:
        raise ClusterError(f"context {context!r} needs a kubeconfig, and in this pod there is none; unset kmm:context")
    return Access()


def _read(file: str) -> _KubeConfig | None:
    """`None` for a file without content, which kubectl passes over."""
    try:
        document = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        if document is None:
            return None
        if not isinstance(document, dict):
            raise ClusterError(f"{file} is not a kubeconfig: it holds no mapping with clusters and contexts")
        return _KubeConfig.model_validate(document)
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"kubeconfig {file} can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ClusterError(f"kubeconfig {file} is not YAML: {_position(error)}") from None
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
        raise ClusterError(f"{file} is not a kubeconfig: {'; '.join(problems)}") from None


def _no_context(name: str, files: tuple[str, ...], known: list[str]) -> str:
    where = ", ".join(files)
    choice = f"known contexts: {', '.join(known)}" if known else "there are no contexts at all"
    if name:
        return f"no context {name!r} in {where}; {choice}"
    return f"no current context in {where}; set kmm:context; {choice}"


def _position(error: yaml.YAMLError) -> str:
    """What and where, without the text around it, which may be a credential."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return type(error).__name__
