"""What `plan` and `render` work on: the same options, read in the same way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kmm.definition import Module
    from kmm.mapping import ResolvedKernel
    from kmm.nodes import Node
    from kmm.plan import Images, Plan
    from kmm.problems import Problem
    from kmm.registry import ImageRequest


class Assumption(StrEnum):
    """What is taken for granted about images that are built or signed."""

    PRESENT = "present"
    MISSING = "missing"


ModulesOption = Annotated[
    list[str],
    typer.Option(
        "--modules",
        metavar="PATH",
        help="Module file, folder (with subfolders: *.yaml, *.yml, *.json) or glob, such as stacks/dev. "
        "Can be given more than once.",
        show_default=False,
    ),
]
NodesOption = Annotated[
    str | None,
    typer.Option(
        "--nodes",
        metavar="FILE",
        help="What `kubectl get nodes -o yaml|json` prints, '-' for stdin; no cluster is needed then.",
        show_default="the nodes of the current cluster",
    ),
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="The cluster's kubeconfig.", show_default="$KUBECONFIG, ~/.kube/config"
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.", show_default="its current one"),
]
AssumeImagesOption = Annotated[
    Assumption | None,
    typer.Option(
        "--assume-images",
        help="Take images that a mapping builds or signs for present or missing, without asking.",
        show_default="ask their registries",
    ),
]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options by which a plan is made."""

    modules: list[str]
    nodes: str | None
    kubeconfig: str | None
    context: str | None
    assume_images: Assumption | None

    def plan(self) -> "tuple[Plan, tuple[Problem, ...]]":
        """The plan, and warnings about the Module files. Raises KmmError when anything cannot be read."""
        from kmm.loading import load_modules  # noqa: PLC0415
        from kmm.plan import make_plan  # noqa: PLC0415

        if self.nodes is not None and (self.kubeconfig or self.context):
            raise typer.BadParameter("--nodes is read instead of a cluster: leave out --kubeconfig and --context")
        loaded = load_modules(self.modules)
        nodes = self._read_nodes()
        return make_plan(loaded.modules, nodes, self._read_images(loaded.modules, nodes)), loaded.warnings

    def _read_nodes(self) -> "tuple[Node, ...]":
        if self.nodes is not None:
            from kmm.node_file import load_nodes  # noqa: PLC0415

            return load_nodes(Path("/dev/stdin" if self.nodes == "-" else self.nodes))
        from kmm.cluster import connect  # noqa: PLC0415

        return connect(self.kubeconfig, self.context).nodes()

    def _read_images(self, modules: "Iterable[Module]", nodes: "Iterable[Node]") -> "Images":
        from kmm.plan import Images, required_images  # noqa: PLC0415

        if self.assume_images is not None:
            return Images(assume_present=self.assume_images is Assumption.PRESENT)
        requests = list(_image_requests(required_images(modules, nodes)))
        if not requests:
            return Images()
        from kmm.registry import check_images  # noqa: PLC0415

        return Images(check_images(requests))


def show_warnings(warnings: "Iterable[Problem]") -> None:
    """Prints warnings on stderr, below what was asked for."""
    for warning in warnings:
        typer.echo(warning, err=True)


def _image_requests(kernels: "Iterable[ResolvedKernel]") -> "Iterator[ImageRequest]":
    """The images that Jobs would make: others are the user's affair, and nobody asks for them."""
    from kmm.registry import ImageRequest  # noqa: PLC0415

    for kernel in kernels:
        if kernel.build or kernel.sign:
            images = {kernel.image, kernel.build_image} if kernel.build else {kernel.image}
            tls = kernel.registry_tls
            yield from (ImageRequest(image, tls.insecure, tls.insecure_skip_tls_verify) for image in images)
