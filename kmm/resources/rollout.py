"""The wait for the pods, as a Pulumi resource: one for all Modules, however many nodes there are.

It depends on no loader whose image is still to be built: one slow build would hold back everybody's labels. Such a
loader gets a Rollout of its own in that run, and joins the others in the next.
"""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from kmm.resources.cluster_provider import ClusterProvider, give_up_labels
from kmm.rollout import Workload, allowed_unready
from kmm.rollout_wait import Patience, RolloutWait


class RolloutArgs(TypedDict):
    """Plain values. `cluster` is its UID, `manager` the field manager of the ready labels.

    `workloads`: the fields of `kmm.rollout.Workload`. `settled`: whether they and their labels were seen to be as they
    shall be. `timeout` in seconds (0: look once), `max_unready` a number of nodes or a text such as `10%`.
    """

    cluster: str
    manager: str
    workloads: list[dict[str, Any]]
    settled: bool
    timeout: float
    max_unready: str


class RolloutProvider(ClusterProvider):
    """Waits and labels."""

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Work to do when other pods are wanted, or not all is as it shall be; patience alone is none."""
        return DiffResult(changes=not news["settled"] or news["workloads"] != olds["workloads"])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait and label."""
        self._wait(props)
        return CreateResult(props["manager"], dict(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Wait and label."""
        self._wait(news)
        return UpdateResult(dict(news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Take all labels off: the device plugins leave, before the loaders do."""
        give_up_labels(self.connect(props), id_)

    def _wait(self, props: dict[str, Any]) -> None:
        workloads = [Workload(**fields | {"nodes": tuple(fields["nodes"])}) for fields in props["workloads"]]
        patience = Patience(props["timeout"], allowed_unready(props["max_unready"]))
        RolloutWait(self.connect(props), props["manager"], workloads).run(patience)


class Rollout(Resource, module="kmm", name="Rollout"):
    """Pods that are Ready, and labels that say so (`RolloutArgs`)."""

    def __init__(self, name: str, args: RolloutArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(RolloutProvider(), name, dict(args), opts)
