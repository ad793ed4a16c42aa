"""`python -m kmm preflight`: whether Modules are ready for kernels that no node runs yet."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmm.commands.inputs import (
    ContextOption,
    KubeconfigOption,
    ModulesOption,
    SourceOption,
    read_modules,
    show_warnings,
)
from kmm.commands.plan import OutputFormat
from kmm.errors import ClusterError
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.definition import Module
    from kmm.preflight import Readiness
    from kmm.pull_secrets import PullSecrets


_KERNEL: Final = re.compile(r"[0-9A-Za-z][-.+~_0-9A-Za-z]{0,63}")  # utsname's release has 64 characters
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9]+")


def _checked_kernels(kernels: list[str]) -> list[str]:
    for kernel in kernels:
        if not _KERNEL.fullmatch(kernel):
            raise typer.BadParameter(f"{kernel!r} is no kernel release, such as 6.1.0-32-amd64")
    return kernels


def _checked_platform(platform: str) -> str:
    if not _PLATFORM.fullmatch(platform):
        raise typer.BadParameter(f"{platform!r} is not OS/ARCHITECTURE, such as linux/arm64")
    return platform


def preflight(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    kernels: Annotated[
        list[str],
        typer.Option(
            "--kernel",
            metavar="VERSION",
            help="A kernel to come, as `uname -r` will say. Can be given more than once.",
            show_default=False,
            callback=_checked_kernels,
        ),
    ],
    modules: ModulesOption = None,
    source: SourceOption = Source.FILES,
    platform: Annotated[
        str,
        typer.Option(
            "--platform",
            metavar="OS/ARCHITECTURE",
            help="Which image to take of those that one name stands for.",
            callback=_checked_platform,
        ),
    ] = "linux/amd64",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[OutputFormat, typer.Option("--output", "-o", help="json: for scripts.")] = OutputFormat.TABLE,
) -> None:
    """Check that Modules are ready for kernels that the cluster does not run yet.

    Says which mapping takes each kernel, whether the image is in its registry, built or signed, and whether it holds
    the kernel module where modprobe looks. Of the image's layers no more is read than that takes. With
    Modules in files a cluster is only needed for the registry logins that they name by imageRepoSecret; without it,
    your own are used.

    Exit code 0 when all are ready, 1 also when a Module would be left without.

    Examples:

    \b
    python -m kmm preflight --modules stacks/dev --kernel 6.1.0-32-amd64
    python -m kmm preflight --modules kmod.yaml --kernel 6.1.0-32-amd64 --kernel 6.1.0-37-amd64 -o json
    """
    from kmm.preflight import check_readiness  # noqa: PLC0415

    loaded = read_modules(modules, source, kubeconfig, context)
    secrets = _pull_secrets(loaded.modules, kubeconfig, context)
    results = check_readiness(loaded.modules, kernels, platform, secrets)
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(_json(results), indent=2))
    else:
        from kmm.commands.preflight_table import print_readiness  # noqa: PLC0415

        print_readiness(results)
    show_warnings(loaded.warnings)
    if any(result.problem for result in results):
        raise typer.Exit(1)


def _pull_secrets(modules: "Iterable[Module]", kubeconfig: str | None, context: str | None) -> "PullSecrets":
    """What can be had of the Modules' logins; what can't is said, for then the user's own stand in."""
    from kmm.pull_secrets import named_secrets, read_pull_secrets  # noqa: PLC0415

    named = named_secrets(modules)
    if not named:
        return {}
    from kmm.cluster import connect  # noqa: PLC0415

    try:
        found = read_pull_secrets(connect(kubeconfig, context), named)
    except ClusterError as error:
        typer.echo(f"Your own registry logins are used, because imageRepoSecrets can't be read: {error}", err=True)
        return {}
    for secret in named:
        if secret not in found:
            typer.echo(f"Your own registry logins are used: the cluster has no Secret {'/'.join(secret)}", err=True)
    return found


def _json(results: "Sequence[Readiness]") -> dict[str, Any]:
    modules = []
    for module, group in groupby(results, key=lambda result: result.module):
        name = {"namespace": module.metadata.namespace, "name": module.metadata.name}
        modules.append(name | {"kernels": [_kernel(result) for result in group]})
    return {"modules": modules}


def _kernel(result: "Readiness") -> dict[str, Any]:
    resolved = result.plan.resolved
    return {
        "version": result.plan.version,
        "mapping": resolved.mapping if resolved else None,
        "image": resolved.image if resolved else None,
        "actions": [action.value for action in result.plan.actions],
        "ready": result.problem is None,
        "files": list(result.files),
        "problem": result.problem,
        "note": result.note,
    }
