"""Whether Modules are ready for kernels that no node runs yet: mapping, image, and what the image holds.

The planner judges imagined nodes, one for each kernel, so that it says today what it will say when they boot.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kmm.definition import Module
from kmm.image_files import MODULE_INDEX, FoundModules, ModuleFolder
from kmm.image_layers import ModuleSearch, search_images
from kmm.mapping import ResolvedKernel, version_selector
from kmm.nodes import Node
from kmm.plan import Action, Images, KernelPlan, make_plan
from kmm.pull_secrets import PullSecrets, image_request
from kmm.registry import check_images
from kmm.registry_errors import HostError


@dataclass(frozen=True, slots=True)
class Readiness:
    """A Module on a kernel to come. `problem` says why nodes with that kernel would be left without it.

    `files` are the kernel modules found in the image; `note` says what could not be looked at.
    """

    module: Module
    plan: KernelPlan
    files: tuple[str, ...] = ()
    problem: str | None = None
    note: str | None = None


def check_readiness(
    modules: Iterable[Module], kernels: Iterable[str], platform: str, pull_secrets: PullSecrets
) -> tuple[Readiness, ...]:
    """Each Module on each kernel. Raises RegistryError when a registry does not tell whether an image exists.

    `platform` is `OS/ARCHITECTURE`; it chooses among the images of an index, and an image for another one is a problem.
    """
    ordered = sorted(modules, key=lambda module: (module.metadata.namespace, module.metadata.name))
    wanted = sorted(set(kernels))
    resolved = [plan.resolved for _, plan in _plans(ordered, wanted, Images()) if plan.resolved is not None]
    images = Images(
        check_images(
            image_request(kernel, image, pull_secrets)
            for kernel in resolved
            for image in (kernel.image, kernel.build_image)
        )
    )
    plans = list(_plans(ordered, wanted, images))
    searches = [_search(plan, images, pull_secrets) for _, plan in plans]
    found = search_images((search for search in searches if search is not None), platform)
    return tuple(
        _unsearched(module, plan, images) if search is None else _searched(module, plan, search, found[search])
        for (module, plan), search in zip(plans, searches, strict=True)
    )


def _plans(modules: Iterable[Module], kernels: Iterable[str], images: Images) -> Iterator[tuple[Module, KernelPlan]]:
    for module in modules:
        labels = dict(module.spec.selector) | version_selector(module)
        nodes = [Node(name=kernel, labels=labels, kernel_version=kernel) for kernel in kernels]
        for plan in make_plan([module], nodes, images).modules[0].kernels:
            yield module, plan


def _source_image(plan: KernelPlan) -> str | None:
    """The image whose kernel modules will be loaded; None when it is still to be built, or never will be."""
    if plan.resolved is None or Action.BUILD in plan.actions:
        return None
    return plan.resolved.build_image if Action.SIGN in plan.actions else plan.resolved.image


def _module_folder(kernel: ResolvedKernel) -> ModuleFolder | None:
    """None when the image is not where modprobe looks, or when `rawArgs` tell it what to load."""
    modprobe = kernel.module.spec.module_loader.container.modprobe
    root = modprobe.dir_name.strip("/")
    if not root or modprobe.module_name is None:
        return None
    names = modprobe.modules_loading_order or (modprobe.module_name,)
    return ModuleFolder(f"{root}/lib/modules/{kernel.release}", names)


def _search(plan: KernelPlan, images: Images, pull_secrets: PullSecrets) -> ModuleSearch | None:
    image = _source_image(plan)
    if plan.resolved is None or image is None or not images.exists(image):
        return None
    folder = _module_folder(plan.resolved)
    return None if folder is None else ModuleSearch(image_request(plan.resolved, image, pull_secrets), folder)


def _unsearched(module: Module, plan: KernelPlan, images: Images) -> Readiness:
    image = _source_image(plan)
    if plan.reason is not None:
        return Readiness(module, plan, problem=plan.reason)
    if image is None:
        return Readiness(module, plan)
    if plan.resolved is not None and not images.exists(image):
        obstacle = plan.resolved.obstacle
        remedy = f"push it, for no Job can make it: {obstacle}" if obstacle else "push it: signing starts from it"
        return Readiness(module, plan, problem=f"{image} is not in its registry; {remedy}")
    return Readiness(module, plan, note="not searched: modprobe takes the module from elsewhere, or by rawArgs")


def _searched(module: Module, plan: KernelPlan, search: ModuleSearch, found: FoundModules | HostError) -> Readiness:
    if isinstance(found, HostError):
        problem = f"{search.request.image} can't be searched: its registry {found.problem}; {found.remedy}"
        return Readiness(module, plan, problem=problem)
    return Readiness(module, plan, found.files, _shortage(search, found))


def _shortage(search: ModuleSearch, found: FoundModules) -> str | None:
    image, folder = search.request.image, f"/{search.folder.path}"
    root, _, release = folder.rpartition("/lib/modules/")
    depmod = f"run `depmod -b {root} {release}` when the image is made"
    if found.unindexed:
        modules = ", ".join(found.unindexed)
        return (
            f"{image}: {folder}/{MODULE_INDEX} does not list {modules}; copy the module below {folder}, then {depmod}"
        )
    if found.missing:
        modules = " and ".join(f"{name}.ko" for name in found.missing)
        return f"{image} holds no {modules} (also .gz, .xz, .zst) below {folder}; copy it there, then {depmod}"
    if found.unindexed is None:
        return f"{image} holds no {folder}/{MODULE_INDEX}, without which modprobe finds nothing; {depmod}"
    return None
