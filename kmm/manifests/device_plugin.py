"""The device-plugin DaemonSet: one per Module that has one, on the nodes where the module is loaded."""

from kmm.definition import (
    DEVICE_PLUGIN_PATH,
    DEVICE_PLUGIN_VOLUME,
    LOADED_MODULE_PATH,
    LOADED_MODULE_VOLUME,
    DevicePlugin,
    Module,
)
from kmm.kernel import sysfs_module_path
from kmm.manifests.common import (
    PRIORITY_CLASS,
    Manifest,
    daemon_set,
    host_path,
    module_labels,
    pull_secrets,
    service_account,
    tolerations,
    wire,
)
from kmm.mapping import version_selector
from kmm.names import ROLE_DEVICE_PLUGIN, ROLE_LABEL, object_name, ready_label


def device_plugin_service_account_name(module: Module, plugin: DevicePlugin) -> str:
    """The ServiceAccount that the Module names, or that made for it (the operator's name)."""
    return plugin.service_account_name or f"{module.metadata.name}-device-plugin"


def device_plugin_service_account(module: Module) -> Manifest | None:
    """The ServiceAccount of the device plugin; None without a plugin or when the Module names its own."""
    plugin = module.spec.device_plugin
    if plugin is None or plugin.service_account_name:
        return None
    return service_account(module, device_plugin_service_account_name(module, plugin))


def device_plugin_name(module: Module) -> str:
    """Name of the DaemonSet: the same for ever, one for each (Module, version)."""
    version = module.spec.module_loader.container.version
    return object_name(module.metadata.name, ROLE_DEVICE_PLUGIN, *([version] if version else []))


def device_plugin_manifest(module: Module) -> Manifest | None:
    """The DaemonSet, None when the Module has no device plugin."""
    plugin = module.spec.device_plugin
    if plugin is None:
        return None
    labels = module_labels(module, {ROLE_LABEL: ROLE_DEVICE_PLUGIN})
    return daemon_set(module, device_plugin_name(module), labels, {"template": {"spec": _pod_spec(module, plugin)}})


def _pod_spec(module: Module, plugin: DevicePlugin) -> Manifest:
    ready = {ready_label(module.metadata.namespace, module.metadata.name): ""}
    gate, gate_mount = _loaded_module_gate(module)
    return {
        "nodeSelector": version_selector(module) | ready,
        "serviceAccountName": device_plugin_service_account_name(module, plugin),
        "priorityClassName": PRIORITY_CLASS,
        **pull_secrets(module),
        **tolerations(module),
        "containers": [_container(plugin, gate_mount)],
        "volumes": [host_path(DEVICE_PLUGIN_VOLUME, DEVICE_PLUGIN_PATH, "Directory"), *gate, *plugin.volumes],
    }


def _container(plugin: DevicePlugin, gate_mount: list[Manifest]) -> Manifest:
    given = wire(plugin.container)
    mounts = given.pop("volumeMounts", [])
    return {
        "name": "device-plugin",
        **given,
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": DEVICE_PLUGIN_VOLUME, "mountPath": DEVICE_PLUGIN_PATH}, *gate_mount, *mounts],
    }


def _loaded_module_gate(module: Module) -> tuple[list[Manifest], list[Manifest]]:
    """Volume and mount by which the kubelet itself holds the pod back until the module is in the kernel.

    A node may reboot into a state in which the module fails to load, and its ready label is then stale until the
    next `up`. A hostPath of type Directory fails to mount while the folder is missing and is tried again, which
    needs neither a shell in the plugin's image nor an image per kernel.
    """
    name = module.spec.module_loader.container.modprobe.module_name
    if not name:
        return [], []
    volume = host_path(LOADED_MODULE_VOLUME, sysfs_module_path(name), "Directory")
    return [volume], [{"name": LOADED_MODULE_VOLUME, "mountPath": LOADED_MODULE_PATH, "readOnly": True}]
