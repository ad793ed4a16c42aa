"""Where declared pods are Ready, where not, and why. Pure; `kmm.rollout_wait` asks the cluster and waits.

Ready of a loader pod is the kernel's own word (its readiness probe), so Ready means loaded.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kmm.kernel import kernel_label_value
from kmm.modprobe_words import explain, telling_line
from kmm.names import (
    MODULE_NAME_LABEL,
    ROLE_LABEL,
    ROLE_MODULE_LOADER,
    TEMPLATE_HASH_ANNOTATION,
    device_plugin_ready_label,
    ready_label,
)
from kmm.nodes import LOST, Node, Toleration, keeps_daemon_sets_off, lost, refusing_taint
from kmm.workloads import CANNOT_START, DaemonSet, Pod

if TYPE_CHECKING:
    from kmm.manifests import Manifest
    from kmm.plan import KernelPlan

_RESTARTS: Final = 2  # a module may need one that another loader is about to load
_SHOWN: Final = 10  # nodes listed for one Module


@dataclass(frozen=True, slots=True)
class Workload:
    """A declared DaemonSet, the nodes on which its pods shall be Ready, and the node label that says they are.

    One that is not `awaited` is somebody else's to wait for: its labels stay as they are. One that is `partial` has
    only some of its DaemonSet's nodes, so that the DaemonSet's counts tell nothing of it.
    """

    module: str
    namespace: str
    name: str
    role: str
    template_hash: str
    label: str
    nodes: tuple[str, ...]
    awaited: bool = True
    partial: bool = False

    @property
    def key(self) -> str:
        """`namespace/name` of the DaemonSet."""
        return f"{self.namespace}/{self.name}"


def loader_workload(kernel: "KernelPlan", manifest: "Manifest") -> Workload:
    """What a loader's manifest promises: the module is loaded on every node of its kernel."""
    return _workload(manifest, ready_label, kernel.nodes)


def device_plugin_workload(kernels: Iterable["KernelPlan"], manifest: "Manifest") -> Workload:
    """What a device plugin's manifest promises: it runs wherever the module is loaded."""
    return _workload(manifest, device_plugin_ready_label, sorted({node for kernel in kernels for node in kernel.nodes}))


def _workload(manifest: "Manifest", label: Callable[[str, str], str], nodes: Iterable[str]) -> Workload:
    metadata = manifest["metadata"]
    namespace, module = metadata["namespace"], metadata["labels"][MODULE_NAME_LABEL]
    return Workload(
        module=f"{namespace}/{module}",
        namespace=namespace,
        name=metadata["name"],
        role=metadata["labels"][ROLE_LABEL],
        template_hash=metadata["annotations"][TEMPLATE_HASH_ANNOTATION],
        label=label(namespace, module),
        nodes=tuple(nodes),
    )


class State(StrEnum):
    """How a workload fares on a node."""

    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"  # cannot heal by itself
    LEFT_OUT = "left out"  # nothing can be known of the node, and so its labels stay
    BLOCKED = "blocked"  # not Ready, and waiting helps not: the node takes no pods now, or what it needs is not there


@dataclass(frozen=True, slots=True)
class Outcome:
    """A workload on one node; `words` say what is known, for people. `pod` is the name of the pod they are about.

    `former_ready`: a pod of the former template is still Ready there, and so the label stays if it is on.
    """

    node: str
    state: State
    words: str = ""
    pod: str = ""
    former_ready: bool = False


def allowed_unready(text: str) -> Callable[[int], int]:
    """How many of so many nodes may stay unready: a number, or per cent (`10%`, rounded down) of them.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(r"(\d{1,6})(%?)", text)
    if match is None or (match[2] and int(match[1]) > 100):
        raise ValueError(f"{text!r} must be a number of nodes or per cent of them, such as 2 or 10%")
    number = int(match[1])
    return (lambda total: total * number // 100) if match[2] else (lambda _total: number)


Found = Mapping[Workload, Sequence[Outcome]]


def settled_outcomes(
    workload: Workload, daemon_set: DaemonSet | None, nodes: Mapping[str, Node]
) -> list[Outcome] | None:
    """The outcome on each node as far as the DaemonSet's own counts tell, or None when its pods must be looked at.

    Cheap: it costs one object per workload, however many nodes there are.
    """
    if not workload.awaited:
        return [Outcome(name, State.LEFT_OUT, "its image is still to be made") for name in workload.nodes]
    reporting = [name for name in workload.nodes if not lost(nodes.get(name))]
    if daemon_set is None or daemon_set.template_hash != workload.template_hash or workload.partial:
        return None
    tainted = [name for name in reporting if keeps_daemon_sets_off(nodes[name], daemon_set.tolerations)]
    if any(workload.label not in nodes[name].labels for name in tainted):
        return None
    if not daemon_set.settled(len(reporting) - len(tainted), len(tainted)):
        return None
    ready = {name: Outcome(name, State.READY) for name in reporting if name not in tainted}
    return [ready.get(name) or _left_out(name, nodes.get(name)) for name in workload.nodes]


def outcomes_without(workload: Workload) -> list[Outcome]:
    """The outcome when the DaemonSet is not there after it was declared: it was refused, or deleted earlier."""
    words = (
        f"DaemonSet {workload.namespace}/{workload.name} is not there. If it could not be made, another error of this "
        "run says why; if it was deleted, have it made again: `pulumi up --refresh`"
    )
    return [Outcome(name, State.FAILED, words) for name in workload.nodes]


def outcomes(
    workload: Workload, daemon_set: DaemonSet | None, pods: Iterable[Pod], nodes: Mapping[str, Node]
) -> list[Outcome]:
    """The outcome on each node of the workload, by its pods; `pods` may hold those of other workloads too."""
    current: dict[str, Pod] = {}
    former: dict[str, Pod] = {}
    for pod in pods:
        if daemon_set is not None and (pod.namespace, pod.daemon_set) == (workload.namespace, workload.name):
            is_current = pod.template == daemon_set.template and not pod.deleting
            (current if is_current else former)[pod.node] = pod
    return [_outcome(name, current.get(name), nodes.get(name), daemon_set, former.get(name)) for name in workload.nodes]


def block_device_plugins(found: Found) -> Found:
    """`found` without hope for device plugins where the module's loader failed: they run where it is loaded."""
    failed = {
        (workload.module, outcome.node)
        for workload, outcomes_found in found.items()
        for outcome in outcomes_found
        if workload.role == ROLE_MODULE_LOADER and outcome.state is State.FAILED
    }
    return {
        workload: [
            replace(outcome, state=State.BLOCKED, words="the module's loader failed")
            if workload.role != ROLE_MODULE_LOADER
            and outcome.state is State.WAITING
            and (workload.module, outcome.node) in failed
            else outcome
            for outcome in outcomes_found
        ]
        for workload, outcomes_found in found.items()
    }


def _outcome(
    name: str, pod: Pod | None, node: Node | None, daemon_set: DaemonSet | None, former: Pod | None
) -> Outcome:
    tolerations = daemon_set.tolerations if daemon_set else ()
    if node is None or lost(node):
        return _left_out(name, node)
    if daemon_set is not None and not _runs_kernel(node, daemon_set):
        words = f"the node runs kernel {node.kernel_version} now: run `pulumi up` again"
        return Outcome(name, State.BLOCKED, words)
    refused = refusing_taint(node, tolerations) is not None
    if pod is None:
        words = _why_no_pods(node, tolerations) if refused else _no_pod_words(former)
        former_ready = former is not None and former.ready and not former.deleting
        return Outcome(name, State.BLOCKED if refused else State.WAITING, words, former_ready=former_ready)
    if pod.ready:
        return Outcome(name, State.READY)
    if refused and node.unschedulable:
        return Outcome(name, State.BLOCKED, _why_no_pods(node, tolerations), pod.name)
    crashing = pod.waiting == "CrashLoopBackOff" and pod.restarts < _RESTARTS
    stuck = pod.phase == "Failed" or (pod.waiting in CANNOT_START and not crashing)
    return Outcome(name, State.FAILED if stuck else State.WAITING, _pod_words(pod), pod.name)


def _runs_kernel(node: Node, daemon_set: DaemonSet) -> bool:
    """Whether the node still runs the kernel that it ran when this was planned; a device plugin takes any."""
    return daemon_set.kernel in ("", kernel_label_value(node.kernel_version))


def _no_pod_words(former: Pod | None) -> str:
    if former is None:
        return "no pod yet"
    return f"pod {former.name} {'is ending' if former.deleting else 'is to be replaced: one node changes at a time'}"


def _left_out(name: str, node: Node | None) -> Outcome:
    return Outcome(name, State.LEFT_OUT, _why_no_pods(node, ()))


def _why_no_pods(node: Node | None, tolerations: Sequence[Toleration]) -> str:
    if node is None:
        return "the node is gone"
    taint = next((taint for taint in node.effective_taints if taint.key in LOST), refusing_taint(node, tolerations))
    return f"the node takes no pods now: taint {taint}"


def _pod_words(pod: Pod) -> str:
    ended = f"exit code {pod.exit_code}" if pod.exit_code is not None else ""
    restarts = f"{pod.restarts} restarts" if pod.restarts else ""
    facts = ", ".join(filter(None, (pod.phase, pod.waiting, ended, restarts)))
    said = pod.last_words or pod.waiting_message
    meaning = explain(said)
    return "\n".join(
        [
            f"pod {pod.name} ({facts})" + (f": {telling_line(said)}" if said else ""),
            *([f"  {meaning}"] if meaning else []),
        ]
    )


def failure_report(module: str, role: str, found: Sequence[Outcome]) -> str:
    """What is not Ready and why, node by node, for a Module that is more unready than allowed."""
    unready = [outcome for outcome in found if outcome.state in (State.FAILED, State.WAITING)]
    what = "is not loaded as defined" if role == ROLE_MODULE_LOADER else "has no ready device plugin"
    lines = [f"{module} {what} on {len(unready)} of {len(found)} nodes:"]
    for outcome in unready[:_SHOWN]:
        first, *rest = outcome.words.splitlines()
        lines += [f"  {outcome.node}: {first}", *(f"    {line}" for line in rest)]
    if len(unready) > _SHOWN:
        lines.append(f"  and {len(unready) - _SHOWN} more nodes")
    return "\n".join(lines)
