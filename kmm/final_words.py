"""The last words of pods: where a module could not be unloaded, and why.

A pod ends even if its module could not be unloaded, and Kubernetes tells nobody. The loader's preStop hook leaves
modprobe's words in the pod's last status, which only a watch sees: with the event that the pod is gone.
"""

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from kmm.errors import ClusterError
from kmm.modprobe_words import UNLOAD_FAILED, explain
from kmm.names import ROLE_MODULE_LOADER
from kmm.workloads import Pod

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster

_WATCH_SECONDS: Final = 600
_LAST_EVENT_WITHIN: Final = 0.5  # seconds after an object is gone from lists
_PAUSE: Final = 0.02
_PAUSE_AFTER_WATCH: Final = 0.5
_PAUSE_AFTER_ERROR: Final = 15
_SHOWN: Final = 10


@dataclass
class FinalWords:
    """What loader pods said of unloading, as they went; heard up to the resource version `heard`.

    Pods are `namespace/name`: `gone` have been heard, `ending` are to be heard; None when nobody knows which end.
    """

    heard: str
    failed: list[Pod] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    ending: set[str] | None = None

    def expect(self, pods: Iterable[Pod]) -> None:
        """Only these, and those expected before, are waited for at the end; no pod at all is an answer, too."""
        self.ending = (self.ending or set()) | {pod.key for pod in pods}

    def hear(self, pod: Pod) -> None:
        """Take the words of a pod whose containers have ended; once."""
        if pod.key not in self.gone and pod.last_words.startswith(UNLOAD_FAILED):
            self.failed.append(pod)
        self.gone.add(pod.key)

    @property
    def complete(self) -> bool:
        """Whether all pods that end were heard."""
        return self.ending is not None and self.ending <= self.gone

    def report(self) -> str:
        """Where a module is still in the kernel, and why; empty when every one was unloaded."""
        lines = [f"the module of {len(self.failed)} pods could not be unloaded and is in the kernel as it was before:"]
        for pod in self.failed[:_SHOWN]:
            meaning = explain(pod.last_words)
            lines.append(f"  {pod.node}: {pod.key}: {pod.last_words}")
            lines += [f"    {meaning}"] if meaning else []
        if len(self.failed) > _SHOWN:
            lines.append(f"  and {len(self.failed) - _SHOWN} more")
        lines += [
            "  End what uses it, then run `pulumi up`: a loader that changed unloads it and loads it again.",
            "  One that is new, or whose image was just built, does not: delete its pod there, which does the same.",
            "  Elsewhere run `modprobe -r` on the node, or reboot it.",
        ]
        return "\n".join(lines) if self.failed else ""


@contextmanager
def final_words(cluster: "Cluster", daemon_sets: Iterable[str], since: str = "") -> Iterator[FinalWords]:
    """Listens to the pods of these loaders (`namespace/name`) as they go, to the end of the block and half a second on.

    It begins at the resource version `since`, or now. When all that were expected have been heard, it ends at once.
    """
    words, owners, done = FinalWords(since or cluster.pods_version()), frozenset(daemon_sets), Event()
    Thread(target=_listen, args=(cluster, owners, words, done), daemon=True).start()
    try:
        yield words
        _hear_the_last(words)
    finally:
        done.set()


def _hear_the_last(words: FinalWords) -> None:
    """An event may come after its object is gone from lists."""
    deadline = time.monotonic() + _LAST_EVENT_WITHIN
    while time.monotonic() < deadline and not words.complete:
        time.sleep(_PAUSE)


def _listen(cluster: "Cluster", owners: Collection[str], words: FinalWords, done: Event) -> None:
    """A watch that ends, or is cut, goes on from where it was."""
    pause = _PAUSE_AFTER_WATCH
    while True:
        try:
            words.heard = words.heard or cluster.pods_version()
            for event in cluster.pod_events(ROLE_MODULE_LOADER, words.heard, _WATCH_SECONDS):
                if done.is_set():
                    return
                pod, words.heard = event.gone, event.version
                if pod is not None and pod.owner in owners:
                    words.hear(pod)
        except ClusterError as error:
            say(f"warning: pods may end unheard, and with them what failed to unload: {error}")
            words.heard, pause = "", _PAUSE_AFTER_ERROR
        if done.wait(pause):
            return


def say(text: str) -> None:
    """Words for the user while the engine runs: it shows what a provider writes to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
