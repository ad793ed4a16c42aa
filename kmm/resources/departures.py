"""What leaves the nodes before anything new comes: ready labels, device plugins, loaders.

The engine deletes last, after everything is created. Here that would unload a module under a loader that came
meanwhile, after a Module was renamed for example. So what the engine is going to delete goes first, here, in the order
that lets modules be unloaded; the engine then finds it gone.

Before a loader changes, the ready label leaves its nodes, and with it the device plugin that may hold the module.
"""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from kmm.departure import (
    await_departing,
    await_device_plugins,
    release_labels,
    remove_daemon_sets,
    take_kernel_labels_off,
)
from kmm.final_words import final_words
from kmm.resources.cluster_provider import ClusterProvider, give_up_labels


class DeparturesArgs(TypedDict):
    """Plain values. `cluster` is its UID, `manager` the field manager of all ready labels of the stack.

    `label_owner` owns the kernel labels (`kmm.label_ownership`). `leaving`: the fields of `kmm.declaration.Leaving`,
    none when nothing leaves. `run` is another text in each run.
    """

    cluster: str
    manager: str
    label_owner: str
    leaving: dict[str, Any]
    run: str


class DeparturesProvider(ClusterProvider):
    """Acts when something leaves."""

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Only what leaves now matters, not what once left; and a report is only of the run before."""
        return DiffResult(changes=bool(news["leaving"] or olds["report"]))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Also in a first run: an earlier one may have been killed before its state was saved."""
        return self.created(props | self._depart(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Take away what leaves."""
        return UpdateResult(news | self._depart(news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Nothing of the stack is left that a label could speak of."""
        if not self.is_replaced(id_):
            give_up_labels(self.connect(props), id_)

    def _depart(self, props: dict[str, Any]) -> dict[str, str]:
        """Returns where a module is still in the kernel, and why. That must not stop what else is to be done."""
        leaving = props["leaving"]
        if not leaving:
            return {"report": "", "heard": ""}
        cluster = self.connect(props)
        departing = leaving["departing"]
        with final_words(cluster, [*leaving["daemon_sets"], *leaving["ending"], *departing.values()]) as words:
            await_departing(cluster, departing, words)
            release_labels(cluster, props["manager"], leaving["release"])
            await_device_plugins(cluster, leaving["plugins"], leaving["release"])
            remove_daemon_sets(cluster, leaving["daemon_sets"], words)
            take_kernel_labels_off(cluster, props["label_owner"], leaving["losing"], leaving["ending"], words)
        return {"report": words.report(), "heard": words.heard}


class Departures(Resource, module="kmm", name="Departures"):
    """What leaves in a run (`DeparturesArgs`); `report` says which modules could not be unloaded, empty for none.

    `heard`: the resource version up to which the last words of pods are in the report. A loader that changes in place
    ends its pods later, while the engine goes on: whoever waits for the new ones hears the old ones from there on.
    `run` is that of an earlier run when something leaves, and the user's --target or --exclude leaves this out.
    """

    report: pulumi.Output[str]
    heard: pulumi.Output[str]
    run: pulumi.Output[str]

    def __init__(self, name: str, args: DeparturesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(DeparturesProvider(), name, {**args, "report": None, "heard": None}, opts)
        self.reloads: list[str] = args["leaving"].get("reloads", [])
        self.listen_from: pulumi.Input[str] = self.heard if self.reloads else ""
