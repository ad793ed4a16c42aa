"""The ModuleLoader DaemonSet: one per Module and kernel, loads with modprobe and unloads before it stops."""

from typing import Final

from kmm.definition import Module
from kmm.kernel import MODULES_FOLDER
from kmm.manifests.common import (
    PRIORITY_CLASS,
    Manifest,
    daemon_set,
    host_path,
    module_labels,
    pull_secrets,
    service_account,
    tolerations,
)
from kmm.manifests.modprobe import (
    FIRMWARE_DIRECTORY,
    GRACE_SECONDS,
    load_command,
    ready_command,
    softdep_configuration,
    unload_command,
)
from kmm.mapping import ResolvedKernel, version_selector
from kmm.names import ROLE_LABEL, ROLE_MODULE_LOADER, object_name

_MODULES_ORDER: Final = "modules-order"


def loader_service_account_name(module: Module) -> str:
    """The ServiceAccount that the Module names, or that made for it (the operator's name)."""
    return module.spec.module_loader.service_account_name or f"{module.metadata.name}-module-loader"


def loader_service_account(module: Module) -> Manifest | None:
    """The ServiceAccount of the loaders, None when the Module names its own."""
    if module.spec.module_loader.service_account_name:
        return None
    return service_account(module, loader_service_account_name(module))


def loader_name(resolved: ResolvedKernel) -> str:
    """Name of the DaemonSet: the same for ever, one for each (Module, version, kernel)."""
    version = resolved.module.spec.module_loader.container.version
    return object_name(resolved.module.metadata.name, resolved.kernel, *([version] if version else []))


def loader_manifest(resolved: ResolvedKernel) -> Manifest:
    """The DaemonSet of a Module on one kernel.

    `maxSurge: 0`: a successor must not run beside its predecessor, whose preStop would unload the module under it.
    """
    labels = module_labels(resolved.module, {ROLE_LABEL: ROLE_MODULE_LOADER} | resolved.kernel_label)
    spec = {
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": {"metadata": _annotations(resolved.module), "spec": _pod_spec(resolved)},
    }
    return daemon_set(resolved.module, loader_name(resolved), labels, spec)


def _annotations(module: Module) -> Manifest:
    order = softdep_configuration(module.spec.module_loader.container.modprobe)
    return {"annotations": {_MODULES_ORDER: order}} if order else {}


def _pod_spec(resolved: ResolvedKernel) -> Manifest:
    module = resolved.module
    volumes, mounts = zip(*_volumes(resolved), strict=True)
    return {
        "nodeSelector": dict(module.spec.selector) | version_selector(module) | resolved.kernel_label,
        "serviceAccountName": loader_service_account_name(module),
        "priorityClassName": PRIORITY_CLASS,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "shareProcessNamespace": True,
        **pull_secrets(module),
        **tolerations(module),
        "containers": [_container(resolved, list(mounts))],
        "volumes": list(volumes),
    }


def _container(resolved: ResolvedKernel, mounts: list[Manifest]) -> Manifest:
    container = resolved.module.spec.module_loader.container
    pull_policy = {"imagePullPolicy": container.image_pull_policy} if container.image_pull_policy else {}
    return {
        "name": "module-loader",
        "image": resolved.deployed_image,
        **pull_policy,
        "command": load_command(container.modprobe, resolved.in_tree_module_to_remove),
        **_unloading(resolved.module),
        **_readiness(resolved.module),
        # modprobe's last words go into the pod's status, where they can be read without its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["SYS_MODULE"]},
            "runAsUser": 0,
            "seLinuxOptions": {"type": "spc_t"},
        },
        "volumeMounts": mounts,
    }


def _unloading(module: Module) -> Manifest:
    """Without unloading, the module stays in the kernel whatever becomes of the pod."""
    if not module.unloads:
        return {}
    command = unload_command(module.spec.module_loader.container.modprobe)
    return {"lifecycle": {"preStop": {"exec": {"command": command}}}}


def _readiness(module: Module) -> Manifest:
    """Ready is the kernel's own word: its folder of the module is there.

    A node under load takes seconds to run a command in a container; Kubernetes would give it one.
    """
    command = ready_command(module.spec.module_loader.container.modprobe)
    if command is None:
        return {}
    return {"readinessProbe": {"exec": {"command": command}, "periodSeconds": 5, "timeoutSeconds": 15}}


def _volumes(resolved: ResolvedKernel) -> list[tuple[Manifest, Manifest]]:
    """Each volume with its mount."""
    modprobe = resolved.module.spec.module_loader.container.modprobe
    modules = f"{MODULES_FOLDER}{resolved.release}"
    pairs = [
        (
            host_path("node-lib-modules", modules, "Directory"),
            {"name": "node-lib-modules", "mountPath": modules, "readOnly": True},
        )
    ]
    if modprobe.firmware_path:
        pairs.append(
            (
                host_path("node-var-lib-firmware", FIRMWARE_DIRECTORY, "DirectoryOrCreate"),
                {"name": "node-var-lib-firmware", "mountPath": FIRMWARE_DIRECTORY},
            )
        )
    if modprobe.modules_loading_order:
        pairs.append((_modules_order_volume(), _MODULES_ORDER_MOUNT))
    return pairs


_MODULES_ORDER_MOUNT: Final = {"name": _MODULES_ORDER, "mountPath": "/etc/modprobe.d", "readOnly": True}


def _modules_order_volume() -> Manifest:
    field = {"fieldRef": {"fieldPath": f"metadata.annotations['{_MODULES_ORDER}']"}}
    return {"name": _MODULES_ORDER, "downwardAPI": {"items": [{"path": "softdep.conf", **field}]}}
