"""Takes DaemonSets out of the cluster in the order that lets modules be unloaded, and says where they were not.

A pod ends even if its module could not be unloaded, and Kubernetes tells nobody. The loader's preStop hook leaves
modprobe's words in the pod's last status, which only a watch sees: with the event that the pod is gone.
"""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from kmm.errors import ClusterError
from kmm.label_ownership import given_up, stack_of
from kmm.modprobe_words import UNLOAD_FAILED, WAS_LOADED, explain
from kmm.names import KERNEL_LABEL, ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER, ready_label
from kmm.nodes import lost
from kmm.rollout import Workload
from kmm.workloads import Pod

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster

_GONE_WITHIN: Final = 600  # seconds for pods to end
_PAUSE: Final = 0.5
_SHORT_PAUSE: Final = 0.02
_NODES_PAUSE: Final = 5.0  # seconds after which nodes are read again, to see which do not report any more
_PAUSE_AFTER_ERROR: Final = 15
_SHOWN: Final = 10
_LOG_LINES: Final = 100

Labels = dict[str, list[str]]  # label keys by node name


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
        """These pods end, besides those that were expected before."""
        self.ending = (self.ending or set()) | {_name(pod) for pod in pods}

    @property
    def complete(self) -> bool:
        """Whether all pods that end were heard."""
        return self.ending is not None and self.ending <= self.gone

    def report(self) -> str:
        """Where a module is still in the kernel, and why; empty when every one was unloaded."""
        lines = [f"the module of {len(self.failed)} pods could not be unloaded and is in the kernel as it was before:"]
        for pod in self.failed[:_SHOWN]:
            meaning = explain(pod.last_words)
            lines.append(f"  {pod.node}: {_name(pod)}: {pod.last_words}")
            lines += [f"    {meaning}"] if meaning else []
        if len(self.failed) > _SHOWN:
            lines.append(f"  and {len(self.failed) - _SHOWN} more")
        lines += [
            "  End what uses it, then run `pulumi up`: where a loader of it runs, it is unloaded and loaded again.",
            "  Elsewhere run `modprobe -r` on the node, or reboot it.",
        ]
        return "\n".join(lines) if self.failed else ""


@contextmanager
def final_words(cluster: "Cluster", daemon_sets: Iterable[str], since: str = "") -> Iterator[FinalWords]:
    """Listens to the pods of these loaders (`namespace/name`) as they go, to the end of the block.

    It begins at the resource version `since`, or now.
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
    deadline = time.monotonic() + _PAUSE
    while time.monotonic() < deadline and not words.complete:
        time.sleep(_SHORT_PAUSE)


def _listen(cluster: "Cluster", owners: Collection[str], words: FinalWords, done: Event) -> None:
    """A watch that ends, or is cut, goes on from where it was."""
    pause = _PAUSE
    while True:
        try:
            words.heard = words.heard or cluster.pods_version()
            for event in cluster.pod_events(ROLE_MODULE_LOADER, words.heard, _GONE_WITHIN):
                if done.is_set():
                    return
                pod, words.heard = event.gone, event.version
                if pod is None:
                    continue
                if _owner(pod) in owners and pod.last_words.startswith(UNLOAD_FAILED):
                    words.failed.append(pod)
                words.gone.add(_name(pod))
        except ClusterError as error:
            say(f"warning: pods may end unheard, and with them what failed to unload: {error}")
            words.heard, pause = "", _PAUSE_AFTER_ERROR
        if done.wait(pause):
            return


def release_labels(cluster: "Cluster", manager: str, release: Labels) -> None:
    """Take these labels off the nodes, whichever of the field managers of `manager`'s stack put them on."""
    _give_up(cluster, release, f"{stack_of(manager)}.")


def await_device_plugins(cluster: "Cluster", plugins: Iterable[str], release: Labels) -> None:
    """Wait until no pod of these DaemonSets (`namespace/name`) is left where the ready label of its Module went.

    It may hold the module. Where only other Modules are released it stays.
    """
    names = set(plugins)
    if names and release:
        _await_no_pods(
            cluster,
            ROLE_DEVICE_PLUGIN,
            lambda pod: _owner(pod) in names and ready_label(*pod.module.split("/")) in release.get(pod.node, ()),
        )


def remove_daemon_sets(cluster: "Cluster", names: Iterable[str], words: FinalWords) -> None:
    """Delete these DaemonSets (`namespace/name`), device plugins first, and wait until their pods have ended."""
    wanted = set(names)
    live = cluster.daemon_sets() if wanted else ()
    for role in (ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER):
        leaving = [one for one in live if one.role == role and f"{one.namespace}/{one.name}" in wanted]
        modules = {one.module for one in leaving}
        pods = [pod for pod in cluster.pods(role, modules=modules) if _owner(pod) in wanted] if leaving else []
        for one in leaving:
            cluster.delete_daemon_set(one.namespace, one.name)
        if role == ROLE_MODULE_LOADER:
            words.expect(pods)
        if pods:
            _await_no_pods(cluster, role, lambda pod: _owner(pod) in wanted, modules)


def take_kernel_labels_off(
    cluster: "Cluster", owner: str, names: Iterable[str], loaders: Iterable[str], words: FinalWords
) -> None:
    """Give up the kernel labels of `owner` on these nodes, and wait until these loaders' pods have ended there.

    Where a label stays, because others want it too, so do the pods.
    """
    places, ending = set(names), set(loaders)
    if not places:
        return
    pods = [pod for pod in cluster.pods(ROLE_MODULE_LOADER) if _owner(pod) in ending and pod.node in places]
    _give_up(cluster, {name: [KERNEL_LABEL] for name in places}, f"{owner}.")
    bare = {node.name for node in cluster.nodes() if node.name in places and KERNEL_LABEL not in node.labels}
    if leaving := [pod for pod in pods if pod.node in bare]:
        words.expect(leaving)
        modules = {pod.module for pod in leaving}
        _await_no_pods(cluster, ROLE_MODULE_LOADER, lambda pod: _owner(pod) in ending and pod.node in bare, modules)


def _give_up(cluster: "Cluster", release: Labels, managers: str) -> None:
    """Field managers whose names begin with `managers` give these labels up."""
    given = given_up(release, cluster.nodes(), lambda manager: manager.startswith(managers))
    for manager, changes in given.items():
        cluster.apply_node_labels(changes, manager)


def reload_stale(cluster: "Cluster", manager: str, loaders: Iterable[Workload]) -> None:
    """End Ready pods of these loaders that found their module in the kernel: they unload it, and the next ones load.

    For loaders whose change did not end well: in such a run a module in use stays as an earlier pod had loaded it,
    and afterwards only the log of the pod tells. `manager` is that of the ready labels. A container that started again
    finds the module that it loaded itself: its pod stays.
    """
    by_name = {f"{one.namespace}/{one.name}": one for one in loaders}
    live = cluster.daemon_sets() if by_name else ()
    unloading = by_name.keys() & {f"{one.namespace}/{one.name}" for one in live if one.unloads}
    pods = cluster.pods(ROLE_MODULE_LOADER) if unloading else ()
    first = [pod for pod in pods if _owner(pod) in unloading and pod.ready and not pod.restarts]
    stale = [pod for pod in first if _found_module(cluster, pod)]
    release: Labels = {}
    for pod in stale:
        loader = by_name[_owner(pod)]
        say(f"{loader.module} is unloaded and loaded again on {pod.node}: an earlier run could not")
        release.setdefault(pod.node, []).append(loader.label)
    if not stale:
        return
    modules = {by_name[_owner(pod)].module for pod in stale}
    plugins = [one for one in live if one.role == ROLE_DEVICE_PLUGIN and one.module in modules]
    release_labels(cluster, manager, release)
    await_device_plugins(cluster, (f"{one.namespace}/{one.name}" for one in plugins), release)
    for pod in stale:
        cluster.delete_pod(pod.namespace, pod.name)
    names = {_name(pod) for pod in stale}
    _await_no_pods(cluster, ROLE_MODULE_LOADER, lambda pod: _name(pod) in names, modules)


def _found_module(cluster: "Cluster", pod: Pod) -> bool:
    try:
        return WAS_LOADED in cluster.log(pod, _LOG_LINES)
    except ClusterError as error:
        say(f"warning: {pod.node}: the module may be as an earlier loader left it; its log cannot be read: {error}")
        return False


def say(text: str) -> None:
    """Words for the user while the engine runs: it shows what a provider writes to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _name(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.name}"


def _owner(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.daemon_set}"


def _await_no_pods(
    cluster: "Cluster", role: str, leaving: Callable[[Pod], bool], modules: Collection[str] = ()
) -> None:
    """Wait until no pod of these Modules, or of any, is `leaving`.

    Pods on a node that does not report stay until it does, or is deleted: nobody waits for those.
    Only what is left is looked at again and again: a list of thousands of pods or nodes is work for all.
    """
    started = read = time.monotonic()
    left = [pod for pod in cluster.pods(role, modules=modules) if leaving(pod)]
    nodes = {node.name: node for node in cluster.nodes()} if left else {}
    while left := [pod for pod in left if not lost(nodes.get(pod.node))]:
        looked = time.monotonic()
        if looked - started >= _GONE_WITHIN:
            raise ClusterError(_not_gone(left))
        if looked - read >= _NODES_PAUSE:
            nodes, read = {node.name: node for node in cluster.nodes()}, looked
        left = [pod for pod in cluster.pods(role, modules={pod.module for pod in left}) if leaving(pod)]
        if left:
            now = time.monotonic()
            time.sleep(max(min(_PAUSE, (now - started) / 2), 5 * (now - looked)))


def _not_gone(left: Sequence[Pod]) -> str:
    shown = ", ".join(f"{_name(pod)} on {pod.node}" for pod in left[:_SHOWN])
    return (
        f"{len(left)} pods have not ended within {_GONE_WITHIN} s: {shown}. "
        "See why (kubectl describe pod), then run `pulumi up` again"
    )
