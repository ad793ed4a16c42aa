"""`python -m kmm status`: where Modules are loaded, where not, and why. Reads only."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmm.background import start
from kmm.commands.inputs import ContextOption, KubeconfigOption, ModulesOption, read_modules, show_warnings
from kmm.commands.plan import OutputFormat
from kmm.errors import KmmError
from kmm.module_source import Source

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster
    from kmm.loading import Loaded
    from kmm.status import Look, Row

_NOT_READY: Final = 3
_INTERRUPTED: Final = 130  # what shells make of SIGINT
_PAUSE: Final = 2.0  # seconds between two looks, or five times what a look takes


def status(  # noqa: PLR0913, PLR0917 (one parameter for each option)
    modules: ModulesOption = None,
    source: Annotated[
        Source | None,
        typer.Option(
            "--source",
            help="Where Modules are defined: in files, as objects of the cluster, or in both.",
            show_default="files with --modules; without, whatever runs is shown",
        ),
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="json: for scripts, with all nodes.")
    ] = OutputFormat.TABLE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C; json: a line for each change.")
    ] = False,
) -> None:
    """Show on which nodes Modules are loaded, and why not on others, without changing anything.

    With --modules or --source it says how far the cluster is from them, without it shows what runs, of all stacks.

    Exit code 0 when all are ready, 3 when some are not, 1 when that could not be found out. Nodes that take no pods
    now, or whose kernel no mapping serves, are shown but do not count.

    Examples:

    \b
    python -m kmm status
    python -m kmm status --modules stacks/dev --watch
    python -m kmm status -o json | jq '.workloads[] | select(.ready < .wanted)'
    """
    from kmm.cluster import connect  # noqa: PLC0415

    declared: Callable[[], Loaded] | None = None
    if modules or source is not None:
        declared = partial(read_modules, modules, source or Source.FILES, kubeconfig, context)
        show_warnings(declared().warnings)
    last: Look | None = None
    with _display(output, watch) as show, suppress(*([KeyboardInterrupt] if watch else [])):
        for last in _looks(connect(kubeconfig, context), declared, watch):
            show(last)
    if last is None:
        raise typer.Exit(_INTERRUPTED)
    if last.problem:
        raise KmmError(last.problem)
    if any(row.unready for row in last.rows):
        raise typer.Exit(_NOT_READY)


def _display(output: OutputFormat, watch: bool) -> "AbstractContextManager[Callable[[Look], None]]":
    if output is OutputFormat.JSON:
        return nullcontext(_changes(lambda rows: typer.echo(json.dumps(_json(rows), indent=None if watch else 2))))
    from kmm.commands.status_table import live_status, print_status  # noqa: PLC0415
    from kmm.commands.tables import can_write_over  # noqa: PLC0415

    return live_status() if watch and can_write_over() else nullcontext(_changes(print_status))


def _changes(show: "Callable[[Sequence[Row]], None]") -> "Callable[[Look], None]":
    """Shows rows that differ from those before, and on stderr a problem that was not there before."""
    former: Look | None = None

    def show_change(look: "Look") -> None:
        nonlocal former
        if former is None or look.rows != former.rows:
            show(look.rows)
        if look.problem and (former is None or not former.problem):
            typer.echo(look.problem, err=True)
        former = look

    return show_change


def _looks(cluster: "Cluster", declared: "Callable[[], Loaded] | None", watch: bool) -> "Iterator[Look]":
    """How things are now, and with `watch` again and again; then a cluster that does not answer ends nothing.

    Nor does a Module that is not valid while somebody writes it.
    """
    from kmm.status import Look  # noqa: PLC0415

    started = time.monotonic()
    last = Look(_rows(cluster, declared))
    yield last
    while watch:
        time.sleep(max(_PAUSE, 5 * (time.monotonic() - started)))
        started = time.monotonic()
        try:
            last = Look(_rows(cluster, declared))
        except KmmError as error:
            last, started = replace(last, problem=str(error)), time.monotonic()
        yield last


def _rows(cluster: "Cluster", declared: "Callable[[], Loaded] | None") -> "tuple[Row, ...]":
    from kmm.observation import observe_loaders  # noqa: PLC0415
    from kmm.plan import Images, make_plan  # noqa: PLC0415
    from kmm.status import needed_pods, planned_targets, running_targets, skipped_rows, status_rows  # noqa: PLC0415

    nodes_read, daemon_sets_read = start(cluster.nodes), start(cluster.daemon_sets)
    nodes, daemon_sets = nodes_read.result(), daemon_sets_read.result()
    skipped: list[Row] = []
    if declared is None:
        targets = list(running_targets(daemon_sets, nodes))
    else:
        modules = declared().modules
        # Whether images are there is for `plan` to say; what became of them shows here.
        live = observe_loaders(cluster, modules, nodes, daemon_sets)
        plan = make_plan(modules, nodes, Images(), live=live)
        targets, skipped = list(planned_targets(plan, daemon_sets, nodes)), list(skipped_rows(plan))
    roles = needed_pods(targets, daemon_sets, nodes)
    pods = cluster.pods(*sorted(roles)) if roles else ()
    found = [*status_rows(targets, daemon_sets, nodes, pods), *skipped]
    return tuple(sorted(found, key=lambda row: row.order))


def _json(rows: "Sequence[Row]") -> dict[str, Any]:
    return {"ready": not any(row.unready for row in rows), "workloads": [_workload(row) for row in rows]}


def _workload(row: "Row") -> dict[str, Any]:
    namespace, _, name = row.module.partition("/")
    return {
        "namespace": namespace,
        "name": name,
        "role": row.role,
        "kernel": row.kernel or None,
        "version": row.version or None,
        "daemonSet": row.daemon_set or None,
        "stack": row.stack or None,
        "ready": row.ready,
        "wanted": row.ready + len(row.unready),
        "note": row.note or None,
        "nodes": [{"node": one.node, "state": one.state.value, "words": one.words or None} for one in row.nodes],
    }
