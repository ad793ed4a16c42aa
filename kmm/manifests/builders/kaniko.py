"""kaniko: builds inside its own root file system. Archived by its authors in June 2025; kept for operator users.

Needs: root in the container; no capability, privilege or profile beyond the runtime's defaults. RUN steps see all
that the container sees, the registry login too.
"""

from collections.abc import Mapping
from typing import Final

from kmm.manifests.builders.interface import (
    DOCKERFILE,
    REGISTRY_LOGIN,
    WORKSPACE,
    BuildContainer,
    BuilderTool,
    BuildRequest,
    build_argument_flags,
)


def _container(request: BuildRequest) -> BuildContainer:
    return BuildContainer(
        dockerfile=request.dockerfile,
        args=(
            *("--context", f"dir://{WORKSPACE}", "--dockerfile", DOCKERFILE, "--destination", request.image),
            *build_argument_flags(request),
            *_tls_flags(request),
            *request.arguments,
        ),
        environment={"DOCKER_CONFIG": REGISTRY_LOGIN} if request.has_login else {},
        security_context={"runAsUser": 0},
    )


def _tls_flags(request: BuildRequest) -> list[str]:
    flags: Mapping[str, bool] = {
        "--insecure-pull": request.pull_tls.insecure,
        "--skip-tls-verify-pull": request.pull_tls.insecure_skip_tls_verify,
        "--insecure": request.push_tls.insecure,
        "--skip-tls-verify": request.push_tls.insecure_skip_tls_verify,
    }
    return [flag for flag, is_set in flags.items() if is_set]


KANIKO: Final = BuilderTool("gcr.io/kaniko-project/executor:v1.24.0", _container)
