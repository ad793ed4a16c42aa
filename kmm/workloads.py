"""What is known of the DaemonSets and pods that run in a cluster for Modules.

`kmm.workload_list` makes these values from the API's JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kmm.names import KERNEL_LABEL, MODULE_NAME_LABEL, ROLE_LABEL
from kmm.nodes import Toleration

# For what a container waits that most often needs somebody's help.
CANNOT_START: Final = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CrashLoopBackOff"}
)


@dataclass(frozen=True, slots=True)
class _Named:
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class DaemonSet(_Named):
    """A DaemonSet of a Module. `template` is the number of its pod template, which its pods carry too.

    `release` is the kernel whose folder in /lib/modules a loader mounts; empty for a device plugin.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    image: str = ""
    release: str = ""
    template_hash: str = ""
    unloads: bool = True
    template: str = ""
    observed: bool = True
    desired: int = 0
    misscheduled: int = 0
    updated: int = 0
    ready: int = 0

    @property
    def module(self) -> str:
        """`namespace/name` of the Module."""
        return f"{self.namespace}/{self.labels.get(MODULE_NAME_LABEL, '')}"

    @property
    def role(self) -> str:
        """`module-loader` or `device-plugin`."""
        return self.labels.get(ROLE_LABEL, "")

    @property
    def kernel(self) -> str:
        """The value of the kernel label; empty for a device plugin."""
        return self.labels.get(KERNEL_LABEL, "")

    def settled(self, serving: int, tainted: int) -> bool:
        """Whether its controller has done what it can, and pods of the present template are where they shall be.

        `serving` nodes take its pods. Of `tainted` ones, which take none now, it counts those that have a pod from
        before, Ready or not, as misscheduled; or as Ready as long as it has not seen the taint.
        """
        accounted = self.ready + min(self.misscheduled, tainted)
        done = self.observed and self.updated >= self.desired
        return done and self.ready >= serving and accounted >= serving + tainted


@dataclass(frozen=True, slots=True)
class Pod(_Named):
    """A pod of such a DaemonSet or of a Job, with what its containers last said. `module` is `namespace/name`.

    `reason` and `message` say why the pod itself failed, when it was evicted for example.
    `waiting` and `waiting_message` say why a container does not run, or that no node takes the pod; `exit_code` and
    `last_words` say how one ended.
    """

    node: str
    daemon_set: str
    module: str = ""
    template: str = ""
    phase: str = ""
    reason: str = ""
    message: str = ""
    ready: bool = False
    ready_since: datetime | None = None
    deleting: bool = False
    waiting: str = ""
    waiting_message: str = ""
    exit_code: int | None = None
    last_words: str = ""
    restarts: int = 0

    @property
    def ended(self) -> bool:
        """Whether its containers have ended for good; a finalizer may still keep the object."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def owner(self) -> str:
        """`namespace/name` of its DaemonSet."""
        return f"{self.namespace}/{self.daemon_set}"
