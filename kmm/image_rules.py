"""What is asked of registries, and what follows from the answers: missing images, pinned digests. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from kmm.manifests.loader import loader_name
from kmm.mapping import ResolvedKernel
from kmm.plan import Action, Images, KernelPlan, Plan
from kmm.workloads import DaemonSet

UNPINNED: Final = "kmm:pinDigests: no digest is known: loaders that run keep their images, others wait for one"


@dataclass(frozen=True)
class ImageProblems:
    """Images that are missing and that nobody will make, in words."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def images_to_check(plan: Plan, *, check_all: bool = False) -> Iterator[tuple[ResolvedKernel, str]]:
    """Each image to ask for, with what asks; `plan` may assume anything about images.

    What no Job makes is the user's affair, unless `check_all`, or on a kernel to come: to know early is the point then.
    """
    for module in plan.modules:
        running = ((kernel.resolved, check_all) for kernel in module.kernels)
        future = ((kernel.resolved, True) for kernel in module.future)
        for resolved, always in (*running, *future):
            if resolved is not None and (always or resolved.build or resolved.sign):
                yield resolved, resolved.image
            if resolved is not None and resolved.build and resolved.sign:
                yield resolved, resolved.build_image


def image_problems(plan: Plan, images: Images, *, require_images: bool, require_future: bool) -> ImageProblems:
    """Kernels that would be left without a module for want of an image, or of a mapping for a kernel to come."""
    running = [
        f"{module.module.key}: kernel {kernel.version} on {len(kernel.nodes)} nodes: {_missing(kernel.resolved)}"
        for module in plan.modules
        for kernel in module.kernels
        if kernel.resolved is not None and _is_missing(kernel, kernel.resolved, images)
    ]
    future = [
        f"{module.module.key}: future kernel {kernel.version}: {reason}"
        for module in plan.modules
        for kernel in module.future
        if (reason := _future_problem(kernel, images)) is not None
    ]
    found = ((running, require_images), (future, require_future))
    return ImageProblems(
        errors=tuple(problem for problems, required in found if required for problem in problems),
        warnings=tuple(problem for problems, required in found if not required for problem in problems),
    )


def pin_digests(plan: Plan, images: Images, live: Iterable[DaemonSet]) -> Plan:
    """The plan with each loader's image by digest.

    An image without a digest is still to be made, gone from its registry, or nobody asked for it. A loader that runs
    keeps the image that it has. Another one waits for a digest, rather than be deployed by tag now and then unloaded
    and loaded again for it.
    """
    running = {(one.namespace, one.name): one.image for one in live}

    def pinned(kernel: KernelPlan) -> KernelPlan:
        resolved = kernel.resolved
        if resolved is None or Action.LOAD not in kernel.actions:
            return kernel
        digest = images.digests.get(resolved.image)
        loader = (resolved.module.metadata.namespace, loader_name(resolved))
        image = _with_digest(resolved.image, digest) if digest else running.get(loader)
        if image:
            return replace(kernel, resolved=replace(resolved, pinned_image=image))
        actions = tuple(action for action in kernel.actions if action is not Action.LOAD)
        return replace(kernel, actions=actions, reason="loaded by the first `pulumi up` that finds the image's digest")

    return _each_kernel(plan, pinned)


def keep_digest(resolved: ResolvedKernel, running: Mapping[tuple[str, str], DaemonSet]) -> ResolvedKernel:
    """With the digest by which the loader runs, if it runs this image: that is no other definition.

    For those who don't know the settings; `running` is by namespace and name.
    """
    live = running.get((resolved.module.metadata.namespace, loader_name(resolved)))
    if live is None or live.image.partition("@")[0] != resolved.image:
        return resolved
    return replace(resolved, pinned_image=live.image)


def _each_kernel(plan: Plan, change: Callable[[KernelPlan], KernelPlan]) -> Plan:
    modules = (replace(module, kernels=tuple(map(change, module.kernels))) for module in plan.modules)
    return replace(plan, modules=tuple(modules))


def _with_digest(image: str, digest: str) -> str:
    """`image` keeps its tag for the reader; container runtimes go by the digest."""
    return f"{image.partition('@')[0]}@{digest}"


def _is_missing(kernel: KernelPlan, resolved: ResolvedKernel, images: Images) -> bool:
    """Whether its registry says so; what is assumed of images concerns only those that Jobs make."""
    return not kernel.gated and resolved.image in images.digests and not images.exists(resolved.image)


def _missing(resolved: ResolvedKernel) -> str:
    return f"image {resolved.image} is not in its registry, and {resolved.obstacle}"


def _future_problem(kernel: KernelPlan, images: Images) -> str | None:
    if kernel.resolved is None:
        return kernel.reason
    return _missing(kernel.resolved) if _is_missing(kernel, kernel.resolved, images) else None
