"""What goes first when a stack is destroyed, and keeps everything else if that is in another cluster.

`pulumi destroy` runs no program that could refuse, and the engine deletes objects by their names: those of another
stack for the same Modules. But what depends on others it deletes before them, and when that fails it keeps them.
"""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource

from kmm.resources.cluster_provider import ClusterProvider


class ClusterGuardArgs(TypedDict):
    """`cluster` is its UID."""

    cluster: str


class ClusterGuardProvider(ClusterProvider):
    """Makes nothing: what cannot be made is in no state, as a wait for pods that never get Ready."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A stack keeps to its cluster."""
        return DiffResult(changes=False)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Nothing that could fail."""
        return CreateResult("guard", dict(props))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Raises ClusterError in another cluster."""
        self.connect(props)


class ClusterGuard(Resource, module="kmm", name="ClusterGuard"):
    """Keeps what it depends on from being deleted in another cluster (`ClusterGuardArgs`)."""

    def __init__(self, name: str, args: ClusterGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ClusterGuardProvider(), name, dict(args), opts)
