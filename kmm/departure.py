"""Takes DaemonSets out of the cluster in the order that lets modules be unloaded."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from kmm.errors import ClusterError
from kmm.final_words import FinalWords, say
from kmm.label_ownership import given_up, stack_of
from kmm.modprobe_words import WAS_LOADED
from kmm.names import KERNEL_LABEL, ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER, ready_label
from kmm.nodes import Node, lost
from kmm.rollout import Workload
from kmm.workloads import Pod

if TYPE_CHECKING:
    from kmm.cluster.client import Cluster

_GONE_WITHIN: Final = 600  # seconds for pods to end
_PAUSE: Final = 0.5
_NODES_PAUSE: Final = 5.0  # seconds after which nodes are read again, to see which do not report any more
_SHOWN: Final = 10
_LOG_LINES: Final = 100
_LOGS_AT_ONCE: Final = 16

Labels = dict[str, list[str]]  # label keys by node name


def release_labels(cluster: "Cluster", manager: str, release: Labels) -> None:
    """Take these labels off the nodes, whichever of the field managers of `manager`'s stack put them on."""
    _give_up(cluster, release, f"{stack_of(manager)}.")


def await_device_plugins(cluster: "Cluster", plugins: Iterable[str], release: Labels) -> None:
    """Wait until no pod of these DaemonSets (`namespace/name`) is left where the ready label of its Module went.

    It may hold the module. Where only other Modules are released it stays.
    """
    names = set(plugins)

    def leaving(pod: Pod) -> bool:
        return pod.owner in names and ready_label(*pod.module.split("/")) in release.get(pod.node, ())

    if names and release:
        _await_no_pods(cluster, ROLE_DEVICE_PLUGIN, leaving, check=_refuse_labels_of_others)


def _refuse_labels_of_others(leaving: Sequence[Pod], nodes: Mapping[str, Node]) -> None:
    """Raise ClusterError where the ready label is still on that these device plugins go by: they would never leave."""
    found: dict[str, list[str]] = {}
    for pod in leaving:
        label = ready_label(*pod.module.split("/"))
        if pod.node in nodes and label in nodes[pod.node].labels:
            found.setdefault(label, []).append(pod.node)
    if found:
        lines = [
            "device plugins stay on nodes whose ready label somebody else than this stack has put on, too."
            " No module was unloaded. Take these labels off, then run `pulumi up` again:",
            *(f"  kubectl label nodes {' '.join(nodes)} {label}-" for label, nodes in sorted(found.items())),
        ]
        raise ClusterError("\n".join(lines))


def await_departing(cluster: "Cluster", pods: Collection[str], words: FinalWords) -> None:
    """Wait until these pods (`namespace/name`) have ended, which an earlier run told to: they unload their modules."""

    def leaving(pod: Pod) -> bool:
        if pod.key in pods and pod.ended:
            words.hear(pod)  # for a while, or for a finalizer, the object stays
        return pod.key in pods and not pod.ended

    if pods:
        say(f"waiting for {len(pods)} loader pods that were told to end before")
        words.expect(_await_no_pods(cluster, ROLE_MODULE_LOADER, leaving))


def remove_daemon_sets(cluster: "Cluster", names: Iterable[str], words: FinalWords) -> None:
    """Delete these DaemonSets (`namespace/name`), device plugins first, and wait until their pods have ended."""
    wanted = set(names)
    live = cluster.daemon_sets() if wanted else ()
    words.expect(())
    for role in (ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER):
        leaving = [one for one in live if one.role == role and one.key in wanted]
        if not leaving:
            continue
        modules = {one.module for one in leaving}
        loaders = role == ROLE_MODULE_LOADER
        before = [pod for pod in cluster.pods(role, modules=modules) if pod.owner in wanted] if loaders else []
        for one in leaving:
            cluster.delete_daemon_set(one.namespace, one.name)
        seen = _await_no_pods(cluster, role, lambda pod: pod.owner in wanted, modules)
        if loaders:
            words.expect([*before, *seen])


def take_kernel_labels_off(
    cluster: "Cluster", owner: str, names: Iterable[str], loaders: Iterable[str], words: FinalWords
) -> None:
    """Give up the kernel labels of `owner` on these nodes, and wait until these loaders' pods have ended there.

    Where a label stays, because others want it too, so do the pods.
    """
    places, ending = set(names), set(loaders)
    if not places:
        return
    before = [pod for pod in cluster.pods(ROLE_MODULE_LOADER) if pod.owner in ending and pod.node in places]
    _give_up(cluster, {name: [KERNEL_LABEL] for name in places}, f"{owner}.")
    bare = {node.name for node in cluster.nodes() if node.name in places and KERNEL_LABEL not in node.labels}
    seen = _await_no_pods(cluster, ROLE_MODULE_LOADER, lambda pod: pod.owner in ending and pod.node in bare)
    words.expect([*(pod for pod in before if pod.node in bare), *seen])


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
    by_name = {one.key: one for one in loaders if one.role == ROLE_MODULE_LOADER}
    live = cluster.daemon_sets() if by_name else ()
    unloading = by_name.keys() & {one.key for one in live if one.unloads}
    pods = cluster.pods(ROLE_MODULE_LOADER, modules={by_name[key].module for key in unloading}) if unloading else ()
    first = [pod for pod in pods if pod.owner in unloading and pod.ready and not pod.restarts]
    with ThreadPoolExecutor(_LOGS_AT_ONCE) as pool:
        found = pool.map(lambda pod: _found_module(cluster, pod), first)
        stale = [pod for pod, was_loaded in zip(first, found, strict=True) if was_loaded]
    release: Labels = {}
    for pod in stale:
        loader = by_name[pod.owner]
        say(f"{loader.module} is unloaded and loaded again on {pod.node}: an earlier run could not")
        release.setdefault(pod.node, []).append(loader.label)
    if not stale:
        return
    modules = {by_name[pod.owner].module for pod in stale}
    plugins = [one for one in live if one.role == ROLE_DEVICE_PLUGIN and one.module in modules]
    release_labels(cluster, manager, release)
    await_device_plugins(cluster, (one.key for one in plugins), release)
    for pod in stale:
        cluster.delete_pod(pod.namespace, pod.name)
    names = {pod.key for pod in stale}
    _await_no_pods(cluster, ROLE_MODULE_LOADER, lambda pod: pod.key in names, modules)


def _found_module(cluster: "Cluster", pod: Pod) -> bool:
    try:
        return WAS_LOADED in cluster.log(pod, _LOG_LINES)
    except ClusterError as error:
        say(f"warning: {pod.node}: the module may be as an earlier loader left it; its log cannot be read: {error}")
        return False


def _await_no_pods(
    cluster: "Cluster",
    role: str,
    leaving: Callable[[Pod], bool],
    modules: Collection[str] = (),
    check: Callable[[Sequence[Pod], Mapping[str, Node]], None] = lambda _leaving, _nodes: None,
) -> list[Pod]:
    """Wait until no pod of these Modules, or of any, is `leaving`; returns those that were there at the first look.

    `check` may raise at what the first look found: those pods, and all nodes by name.
    Pods on a node that does not report stay until it does, or is deleted: nobody waits for those.
    Only what is left is looked at again and again: a list of thousands of pods or nodes is work for all.
    """
    started = read = time.monotonic()
    first = left = [pod for pod in cluster.pods(role, modules=modules) if leaving(pod)]
    nodes = {node.name: node for node in cluster.nodes()} if left else {}
    check(left, nodes)
    took = 0.0
    while left := [pod for pod in left if not lost(nodes.get(pod.node))]:
        now = time.monotonic()
        if now - started >= _GONE_WITHIN:
            raise ClusterError(_not_gone(left))
        if now - read >= _NODES_PAUSE:
            nodes, read = {node.name: node for node in cluster.nodes()}, now
        time.sleep(max(min(_PAUSE, (now - started) / 2), 5 * took))
        looked = time.monotonic()
        left = [pod for pod in cluster.pods(role, modules={pod.module for pod in left}) if leaving(pod)]
        took = time.monotonic() - looked
    return first


def _not_gone(left: Sequence[Pod]) -> str:
    shown = ", ".join(f"{pod.key} on {pod.node}" for pod in left[:_SHOWN])
    return (
        f"{len(left)} pods have not ended within {_GONE_WITHIN} s: {shown}. "
        "See why (kubectl describe pod), then run `pulumi up` again"
    )
