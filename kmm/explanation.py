"""Why a node has, or has not, a Module: step by step in the order in which the planner and the cluster decide. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kmm.definition import KernelMapping, Module
from kmm.errors import PlanError
from kmm.kernel import trim_kernel_version
from kmm.manifests.device_plugin import device_plugin_manifest
from kmm.mapping import ResolvedKernel, find_mapping, resolve, version_selector
from kmm.names import (
    INSTANCE_LABEL,
    ROLE_MODULE_LOADER,
    ready_label,
)
from kmm.nodes import CORDON, Node, refusing_taint, selected
from kmm.plan import Images, KernelPlan, make_plan
from kmm.rollout import Outcome, State, Workload, device_plugin_workload, outcomes
from kmm.status import planned_loader
from kmm.used_nodes import live_loaders
from kmm.workloads import DaemonSet, Pod


class Verdict(StrEnum):
    """What a step means for the Module on the node."""

    PASSED = "passed"
    FAILED = "failed"  # so the node is without
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at: what was found, and what can be done about it, for people."""

    topic: str
    verdict: Verdict
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A Module on a node. `loaded` is whether its loader's pod there is Ready."""

    module: str
    node: str
    loaded: bool
    steps: tuple[Step, ...]

    @property
    def reason(self) -> str:
        """The first thing that keeps the Module off the node; empty when it is loaded."""
        failed = (f"{step.topic}: {step.words}" for step in self.steps if step.verdict is Verdict.FAILED)
        return "" if self.loaded else next(failed, "")


@dataclass(frozen=True)
class Evidence:
    """What was read. `images` has the digest of each that was asked for, None for an absent one.

    `unasked` says why others were not.
    """

    nodes: Sequence[Node]
    daemon_sets: Sequence[DaemonSet]
    pods: Sequence[Pod]
    images: Mapping[str, str | None] = field(default_factory=dict)
    unasked: str = "only images that selected nodes need are asked for"


def explain(module: Module, evidence: Evidence) -> Iterator[Explanation]:
    """The Module on each node."""
    evidence = replace(evidence, daemon_sets=[one for one in evidence.daemon_sets if one.module == module.key])
    decided = make_plan([module], evidence.nodes, Images(), live=live_loaders(evidence.daemon_sets, evidence.pods))
    plans = {node: kernel for kernel in decided.modules[0].kernels for node in kernel.nodes}
    ignored = {one.node: one.reason for one in decided.ignored}
    pods: dict[str, list[Pod]] = defaultdict(list)
    for pod in evidence.pods:
        pods[pod.node].append(pod)
    for node in evidence.nodes:
        case = _Case(module, node, plans.get(node.name), ignored.get(node.name, ""), pods[node.name], evidence)
        yield case.explanation()


def needed_kernels(module: Module, nodes: Sequence[Node], node: Node | None = None) -> tuple[ResolvedKernel, ...]:
    """What the Module means for the kernel of `node`, selected or not; without it, for all kernels of its nodes."""
    if node is not None:
        resolved = _resolved(module, node)
        return () if resolved is None else (resolved,)
    plans = make_plan([module], nodes, Images()).modules[0].kernels
    return tuple(plan.resolved for plan in plans if plan.resolved is not None)


def _resolved(module: Module, node: Node) -> ResolvedKernel | None:
    try:
        return resolve(module, node.kernel_version)
    except PlanError:
        return None


@dataclass(frozen=True)
class _Case:
    """A Module and a node with its pods; `plan` is that of its kernel, None when it is not to have the Module.

    `ignored` is why the planner leaves the node out.
    """

    module: Module
    node: Node
    plan: KernelPlan | None
    ignored: str
    pods: Sequence[Pod]
    evidence: Evidence

    def explanation(self) -> Explanation:
        steps = [self._selector(), self._taints(), self._kernel(), *self._mappings()]
        resolved = _resolved(self.module, self.node)
        if resolved is not None:
            steps.append(self._image(resolved))
        if self.plan is None or self.plan.resolved is None:
            steps += self._leftovers()
            return Explanation(self.module.key, self.node.name, loaded=False, steps=tuple(steps))
        running = {(one.namespace, one.name): one for one in self.evidence.daemon_sets}
        loader = planned_loader(self.plan, self.plan.resolved, running)
        steps += (self._kernel_label(self.plan.resolved), *self._workload(loader, "loader"), *self._ending())
        loaded = self._outcome(loader).state is State.READY
        steps += (self._ready_label(loaded), *self._device_plugin(self.plan))
        return Explanation(self.module.key, self.node.name, loaded, tuple(steps))

    def _selector(self) -> Step:
        wanted = dict(self.module.spec.selector) | version_selector(self.module)
        if selected(self.node, wanted):
            return Step(
                "selector", Verdict.PASSED, f"the node carries {_pairs(wanted) or 'all that is asked: nothing'}"
            )
        missing = {key: value for key, value in wanted.items() if self.node.labels.get(key) != value}
        other = {key: self.node.labels[key] for key in missing if key in self.node.labels}
        has = f" but has {_pairs(other)}" if other else ""
        command = f"kubectl label node {self.node.name} {_pairs(missing, ' ')}{' --overwrite' if other else ''}"
        return Step("selector", Verdict.FAILED, f"the node lacks {_pairs(missing)}{has}", f"to select it: {command}")

    def _taints(self) -> Step:
        taint = refusing_taint(self.node, self.module.spec.tolerations)
        what = "cordoned" if taint == CORDON else f"tainted {taint}"
        if taint is None:
            return Step("taints", Verdict.PASSED, "none keeps the Module off")
        if self.plan is not None:
            return Step("taints", Verdict.NOTED, f"the node is {what}, but its modules stay")
        remedy = (
            f"to undo: kubectl uncordon {self.node.name}" if taint == CORDON else "see spec.tolerations of the Module"
        )
        return Step("taints", Verdict.FAILED, f"the node is {what}", remedy)

    def _kernel(self) -> Step:
        if not self.node.kernel_version:
            return Step("kernel", Verdict.FAILED, "the node's kubelet has not reported a kernel version yet")
        if self.plan is None and self._is_usable():
            return Step("kernel", Verdict.FAILED, self.ignored)
        return Step("kernel", Verdict.PASSED, self.node.kernel_version)

    def _is_usable(self) -> bool:
        """Whether neither selector nor taints keep the Module off."""
        wanted = dict(self.module.spec.selector) | version_selector(self.module)
        return selected(self.node, wanted) and refusing_taint(self.node, self.module.spec.tolerations) is None

    def _mappings(self) -> Iterator[Step]:
        kernel = trim_kernel_version(self.node.kernel_version)
        if not kernel:
            return
        mappings = self.module.spec.module_loader.container.kernel_mappings
        taken = find_mapping(mappings, kernel)
        for index, mapping in enumerate(mappings):
            yield _mapping_step(index, mapping, kernel, taken)
        if taken is None:
            remedy = "add a mapping, or widen one"
            yield Step("kernelMappings", Verdict.FAILED, f"none takes kernel {kernel}", remedy)
        elif obstacle := self._obstacle():
            yield Step("kernelMappings", Verdict.FAILED, obstacle)

    def _obstacle(self) -> str | None:
        """Why the mapping that takes the kernel is of no use."""
        if self.plan is not None:
            return self.plan.reason
        try:
            resolve(self.module, self.node.kernel_version)
        except PlanError as error:
            return str(error)
        return None

    def _image(self, resolved: ResolvedKernel) -> Step:
        image, made = resolved.image, "built" if resolved.build else "signed"
        if image not in self.evidence.images:
            return Step(
                "image", Verdict.NOTED, f"it is not known whether {image} is in its registry", self.evidence.unasked
            )
        digest = self.evidence.images[image]
        if digest is not None:
            return Step("image", Verdict.PASSED, f"{image} is in its registry, digest {digest}")
        if resolved.obstacle is None:
            return Step("image", Verdict.NOTED, f"{image} is not in its registry", f"`pulumi up` has it {made}")
        remedy = f"push it, for no Job can make it: {resolved.obstacle}"
        return Step("image", Verdict.FAILED, f"{image} is not in its registry", remedy)

    def _kernel_label(self, resolved: ResolvedKernel) -> Step:
        if selected(self.node, resolved.kernel_label):
            return Step("kernel label", Verdict.PASSED, f"the node carries {_pairs(resolved.kernel_label)}")
        words = f"the node lacks {_pairs(resolved.kernel_label)}"
        return Step("kernel label", Verdict.FAILED, words, "`pulumi up` puts it on")

    def _workload(self, workload: Workload, what: str) -> Iterator[Step]:
        name, daemon_set = f"{workload.namespace}/{workload.name}", self._daemon_set(workload)
        if daemon_set is None:
            yield Step(what, Verdict.FAILED, f"there is no DaemonSet {name} yet", "run `pulumi up`")
            return
        yield Step(what, Verdict.PASSED, f"DaemonSet {name} of stack {daemon_set.labels.get(INSTANCE_LABEL, '-')}")
        if daemon_set.template_hash != workload.template_hash:
            yield Step(what, Verdict.NOTED, "it is of another definition", "`pulumi up` changes it")
        outcome = self._outcome(workload)
        ready = outcome.state is State.READY
        words = f"{self._pod_names(workload.name)}: Ready" if ready else outcome.words
        yield Step(f"{what} pod", Verdict.PASSED if ready else Verdict.FAILED, words)

    def _ending(self) -> Iterator[Step]:
        for pod in self._loader_pods():
            if pod.deleting:
                yield Step("loader pod", Verdict.NOTED, f"pod {pod.name} is ending, and unloads the module before")

    def _ready_label(self, loaded: bool) -> Step:
        metadata = self.module.metadata
        label = ready_label(metadata.namespace, metadata.name)
        has = label in self.node.labels
        if has and loaded:
            return Step("ready label", Verdict.PASSED, f"the node carries {label}")
        if has:
            return Step("ready label", Verdict.NOTED, f"the node still carries {label}", "`pulumi up` takes it off")
        if loaded:
            return Step("ready label", Verdict.NOTED, f"the node lacks {label}", "`pulumi up` puts it on")
        return Step("ready label", Verdict.PASSED, f"the node does not carry {label}, and should not")

    def _device_plugin(self, plan: KernelPlan) -> Iterator[Step]:
        manifest = device_plugin_manifest(self.module)
        if manifest is not None:
            yield from self._workload(device_plugin_workload([plan], manifest), "device plugin")

    def _leftovers(self) -> Iterator[Step]:
        for pod in self._loader_pods():
            if not pod.deleting:
                words = f"pod {pod.name} of DaemonSet {pod.daemon_set} is there still"
                yield Step("loader pod", Verdict.NOTED, words, "`pulumi up` takes it away")
        yield from self._ending()

    def _daemon_set(self, workload: Workload) -> DaemonSet | None:
        key = (workload.namespace, workload.name)
        return next((one for one in self.evidence.daemon_sets if (one.namespace, one.name) == key), None)

    def _outcome(self, workload: Workload) -> Outcome:
        nodes = {self.node.name: self.node}
        here = replace(workload, nodes=(self.node.name,))
        (outcome,) = outcomes(here, self._daemon_set(workload), self.pods, nodes)
        return outcome

    def _loader_pods(self) -> Iterator[Pod]:
        """The pods of the Module's loaders on the node, of whatever kernel."""
        own = {(one.namespace, one.name) for one in self.evidence.daemon_sets if one.role == ROLE_MODULE_LOADER}
        return (pod for pod in self.pods if (pod.namespace, pod.daemon_set) in own)

    def _pod_names(self, daemon_set: str) -> str:
        return ", ".join(f"pod {pod.name}" for pod in self.pods if pod.daemon_set == daemon_set)


def _mapping_step(index: int, mapping: KernelMapping, kernel: str, taken: int | None) -> Step:
    what = f"literal {mapping.literal}" if mapping.literal is not None else f"regexp {mapping.regexp}"
    topic = f"kernelMappings[{index}]"
    if index == taken:
        return Step(topic, Verdict.PASSED, f"{what} takes it")
    if find_mapping([mapping], kernel) is not None:
        return Step(topic, Verdict.NOTED, f"{what} would take it, but kernelMappings[{taken}] comes first")
    return Step(topic, Verdict.NOTED, f"{what} {'is another kernel' if mapping.literal else 'does not match'}")


def _pairs(labels: Mapping[str, str], separator: str = ", ") -> str:
    return separator.join(f"{key}={value}" for key, value in labels.items())
