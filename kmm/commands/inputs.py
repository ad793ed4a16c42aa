"""What several commands work on: the same options, read in the same way."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from kmm.errors import PlanError
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.definition import Module
    from kmm.jobs import JobSettings
    from kmm.loading import Loaded
    from kmm.nodes import Node
    from kmm.plan import Images, Plan
    from kmm.problems import Problem
    from kmm.used_nodes import LiveLoaders
    from kmm.workloads import DaemonSet

UNASKED: Final = "--assume-images present (missing) goes on without asking."


class Assumption(StrEnum):
    """What is taken for granted about images that are built or signed."""

    PRESENT = "present"
    MISSING = "missing"


ModulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--modules",
        metavar="PATH",
        help="Module file, folder (with subfolders: *.yaml, *.yml, *.json) or glob, such as stacks/dev. "
        "Can be given more than once.",
        show_default=False,
    ),
]
SourceOption = Annotated[
    Source,
    typer.Option("--source", help="Where Modules are defined: in files, as objects of the cluster, or in both."),
]
NodesOption = Annotated[
    str | None,
    typer.Option(
        "--nodes",
        metavar="FILE",
        help="What `kubectl get nodes -o yaml|json` prints, '-' for stdin. No cluster is needed then, and images are "
        "taken for present.",
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
FutureKernelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--future-kernel",
        metavar="VERSION",
        help="Plan the images for a kernel that no node runs yet, as kmm:futureKernels does. Can be given more than "
        "once.",
        show_default=False,
    ),
]


ConfigFileOption = Annotated[
    str | None,
    typer.Option(
        "--config-file",
        metavar="FILE",
        help="Stack file, such as stacks/Pulumi.prod.yaml: its settings hold where no option is given. "
        "With --nodes kmm:pinDigests is left out: images go by tag.",
        show_default=False,
    ),
]


class Planned(NamedTuple):
    """A plan, the nodes it is for, what runs there, None without a cluster, and what to look at."""

    plan: "Plan"
    nodes: "tuple[Node, ...]"
    daemon_sets: "tuple[DaemonSet, ...] | None"
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The options by which a plan is made."""

    modules: list[str] | None
    source: Source
    nodes: str | None
    kubeconfig: str | None
    context: str | None
    assume_images: Assumption | None
    future_kernels: list[str] | None
    require_images: bool = False
    require_future_kernels: bool = False
    pin_digests: bool = False

    def with_stack(self, file: str) -> "tuple[Inputs, JobSettings]":
        """What a stack's file adds, and its settings of Jobs. Raises SettingsError when it is not usable."""
        from kmm.settings import ImageCheck  # noqa: PLC0415
        from kmm.stack_file import load_settings  # noqa: PLC0415

        is_given = bool(self.modules) or self.source is not Source.FILES
        settings = load_settings(
            Path(file), **({"modules": self.modules or [], "source": self.source} if is_given else {})
        )
        if self.nodes is not None and not is_given and settings.source is not Source.FILES:
            raise typer.BadParameter(
                f"--nodes is read instead of a cluster, and kmm:source in {file} is {settings.source}, which needs "
                "one: leave out --nodes, or say which Module files: --modules PATH"
            )
        assumed = {ImageCheck.ASSUME_PRESENT: Assumption.PRESENT, ImageCheck.ASSUME_MISSING: Assumption.MISSING}
        added = replace(
            self,
            modules=list(settings.modules),
            source=settings.source,
            kubeconfig=self.kubeconfig or (None if self.nodes else settings.kubeconfig),
            context=self.context or (None if self.nodes else settings.context),
            assume_images=self.assume_images or assumed.get(settings.image_check),
            future_kernels=self.future_kernels or list(settings.future_kernels),
            require_images=settings.require_images,
            require_future_kernels=settings.require_future_kernels,
            pin_digests=settings.pin_digests,
        )
        return added, settings.jobs

    def plan(self) -> Planned:
        """Raises KmmError when anything cannot be read, or an image is missing that the settings require."""
        from kmm.image_rules import image_problems, pin_digests  # noqa: PLC0415
        from kmm.job_checks import shared_images  # noqa: PLC0415
        from kmm.plan import Images, make_plan  # noqa: PLC0415

        if self.nodes is not None and (self.kubeconfig or self.context or self.source is not Source.FILES):
            raise typer.BadParameter(
                "--nodes is read instead of a cluster: leave out --kubeconfig, --context and --source"
            )
        loaded = read_modules(self.modules, self.source, self.kubeconfig, self.context)
        nodes, running, live = self._read_nodes(loaded.modules)
        future = self.future_kernels or ()
        images = self._read_images(make_plan(loaded.modules, nodes, Images(), future, live))
        plan = make_plan(loaded.modules, nodes, images, future, live)
        problems = image_problems(
            plan, images, require_images=self.require_images, require_future=self.require_future_kernels
        )
        if problems.errors:
            raise PlanError("\n".join(problems.errors))
        warnings = (*loaded.warnings, *problems.warnings, *shared_images(plan), *self._pin_warnings())
        if self.pin_digests and running is not None:
            plan = pin_digests(plan, images, running)
        return Planned(plan, nodes, running, tuple(map(str, warnings)))

    def _read_nodes(
        self, modules: "Sequence[Module]"
    ) -> "tuple[tuple[Node, ...], tuple[DaemonSet, ...] | None, LiveLoaders]":
        """The nodes and what runs on them; with a file of nodes, nothing is known of that."""
        from kmm.used_nodes import LiveLoaders  # noqa: PLC0415

        if self.nodes is not None:
            from kmm.node_file import load_nodes  # noqa: PLC0415

            return load_nodes(Path("/dev/stdin" if self.nodes == "-" else self.nodes)), None, LiveLoaders()
        from kmm.cluster import connect  # noqa: PLC0415
        from kmm.observation import observe_loaders  # noqa: PLC0415

        cluster = connect(self.kubeconfig, self.context)
        nodes, daemon_sets = cluster.nodes(), cluster.daemon_sets()
        return nodes, daemon_sets, observe_loaders(cluster, modules, nodes, daemon_sets)

    def _read_images(self, plan: "Plan") -> "Images":
        """Of images that Jobs would make or that kernels to come need; others only if the settings want them asked."""
        from kmm.image_rules import images_to_check  # noqa: PLC0415
        from kmm.plan import Images  # noqa: PLC0415

        wanted = list(images_to_check(plan, check_all=self.require_images or self.pin_digests))
        if self.assume_images is not None or not wanted:
            return Images(assume_present=self.assume_images is not Assumption.MISSING)
        if self.nodes is not None:
            typer.echo("Images are taken for present; see also --assume-images missing.", err=True)
            return Images()
        from kmm.cluster import connect  # noqa: PLC0415
        from kmm.pull_secrets import check_with_logins  # noqa: PLC0415

        return Images(check_with_logins(connect(self.kubeconfig, self.context), wanted, UNASKED))

    def _pin_warnings(self) -> Iterator[str]:
        from kmm.image_rules import UNPINNED  # noqa: PLC0415

        if self.pin_digests and self.nodes is not None:
            yield "kmm:pinDigests is left out, as --nodes tells neither digests nor what runs: images go by tag"
        elif self.pin_digests and self.assume_images is not None:
            yield UNPINNED


def read_modules(paths: list[str] | None, source: Source, kubeconfig: str | None, context: str | None) -> "Loaded":
    """The Modules that the options mean. Raises KmmError when any cannot be read, BadParameter when they disagree."""
    if not paths and source is not Source.CLUSTER:
        raise typer.BadParameter("say which Modules: --modules PATH, or --source cluster")
    if paths and source is Source.CLUSTER:
        raise typer.BadParameter("--source cluster reads no --modules: leave them out, or take --source both")
    from kmm.cluster import connect  # noqa: PLC0415
    from kmm.loading import load_modules  # noqa: PLC0415

    return load_modules(paths or (), () if source is Source.FILES else connect(kubeconfig, context).modules())


def show_warnings(warnings: "Iterable[Problem | str]") -> None:
    """Prints warnings on stderr, below what was asked for."""
    for warning in warnings:
        typer.echo(warning, err=True)
