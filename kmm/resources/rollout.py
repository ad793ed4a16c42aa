"""The wait for the pods, as a Pulumi resource: one for all Modules, however many nodes there are.

It depends on no loader whose image is still to be built: one slow build would hold back everybody's labels. Such a
loader gets a Rollout of its own in that run, and joins the others in the next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from kmm.departure import reload_stale, remove_daemon_sets
from kmm.errors import ClusterError
from kmm.final_words import final_words, say
from kmm.resources.cluster_provider import ClusterProvider, give_up_labels
from kmm.rollout import Workload, allowed_unready
from kmm.rollout_wait import Patience, RolloutWait


class RolloutArgs(TypedDict):
    """Plain values. `cluster` is its UID, `manager` the field manager of the ready labels.

    `workloads`: the fields of `kmm.rollout.Workload`, but for its nodes the number of a list in `nodes`: a state that
    held each node once for each Module would grow large. `settled`: whether they and their labels were seen to be as
    they shall be. `timeout` in seconds (0: look once), `max_unready` a number of nodes or a text such as `10%`.
    `unload_report`: what `Departures` could not unload; it fails the run in the end. `listen_from`: the resource
    version from which pods that went count too; empty when no loader changes in place.
    `reloads`: the loaders (`namespace/name`) that this very run changes in place.
    `leads_destruction`: it goes only with the whole stack, and first.
    """

    cluster: str
    manager: str
    workloads: list[dict[str, Any]]
    nodes: list[list[str]]
    settled: bool
    timeout: float
    max_unready: str
    unload_report: pulumi.Input[str]
    listen_from: pulumi.Input[str]
    reloads: list[str]
    leads_destruction: bool


class RolloutProvider(ClusterProvider):
    """Waits and labels."""

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Work to do when other pods are wanted, or not all is as it shall be; patience alone is none."""
        wanted = any(news[key] != olds.get(key) for key in ("workloads", "nodes"))
        return DiffResult(changes=bool(wanted or not news["settled"] or news["unload_report"]))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait and label."""
        self._wait(props)
        return self.created(props)

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Wait and label. The state is that of the last run which ended well."""
        self._wait(news, _changed(olds, news))
        return UpdateResult(dict(news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """When the whole stack goes, take all labels off; its pods go now, while somebody hears their last words.

        Labels of a wait for a single loader stay where that is Ready: the wait for all takes them over.
        """
        cluster = self.connect(props)
        if not props["leads_destruction"] or self.is_replaced(id_):
            return
        give_up_labels(cluster, id_)
        with final_words(cluster, _daemon_sets(props)) as words:
            remove_daemon_sets(cluster, _daemon_sets(props), words)
        if report := words.report():
            say(f"warning: {report}")

    def _wait(self, props: dict[str, Any], changed: Sequence[Workload] | None = None) -> None:
        """`changed` end pods; None: nobody knows which do, in a first run over loaders that may be there already."""
        patience = Patience(props["timeout"], allowed_unready(props["max_unready"]))
        cluster, since = self.connect(props), props["listen_from"]
        with final_words(cluster, _daemon_sets(props), since) as words:
            if changed == [] and not since:
                words.expect(())  # those of earlier runs that still end are heard before their successors are Ready
            failed = [one for one in changed or () if one.key not in props["reloads"]]
            if failed:  # they changed in an earlier run, which may not have ended well
                reload_stale(cluster, props["manager"], failed)
            RolloutWait(cluster, props["manager"], _workloads(props)).run(patience)
        if reports := [report for report in (props["unload_report"], words.report()) if report]:
            raise ClusterError("\n".join(reports))


def plain_workloads(workloads: Iterable[Workload]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """`workloads` and `nodes` of `RolloutArgs`."""
    numbers: dict[tuple[str, ...], int] = {}
    fields = [
        asdict(replace(one, nodes=())) | {"nodes": numbers.setdefault(one.nodes, len(numbers))} for one in workloads
    ]
    return fields, [list(nodes) for nodes in numbers]


def _workloads(props: dict[str, Any]) -> list[Workload]:
    nodes = [tuple(names) for names in props["nodes"]]
    return [Workload(**fields | {"nodes": nodes[int(fields["nodes"])]}) for fields in props["workloads"]]


def _changed(olds: dict[str, Any], news: dict[str, Any]) -> list[Workload]:
    """Workloads that have another pod template than before; new ones are none of them."""
    former = {_key(one): one["template_hash"] for one in olds["workloads"]}
    return [one for one in _workloads(news) if one.awaited and former.get(one.key) not in (None, one.template_hash)]


def _daemon_sets(props: dict[str, Any]) -> list[str]:
    return [_key(one) for one in props["workloads"]]


def _key(fields: dict[str, Any]) -> str:
    """`namespace/name`."""
    return f"{fields['namespace']}/{fields['name']}"


class Rollout(Resource, module="kmm", name="Rollout"):
    """Pods that are Ready, and labels that say so (`RolloutArgs`)."""

    def __init__(self, name: str, args: RolloutArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(RolloutProvider(), name, dict(args), opts)
