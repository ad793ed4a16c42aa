"""What users write: the models of a Module file. Pure; reading files is `kmm.loading`'s."""

from kmm.definition.device_plugin import (
    DEVICE_PLUGIN_PATH,
    DEVICE_PLUGIN_VOLUME,
    LOADED_MODULE_PATH,
    LOADED_MODULE_VOLUME,
    DevicePlugin,
    DevicePluginContainer,
)
from kmm.definition.kubernetes import LocalObjectReference, Toleration
from kmm.definition.module import Metadata, Module, ModuleSpec
from kmm.definition.module_loader import (
    Build,
    BuildArg,
    KanikoParams,
    KernelMapping,
    Modprobe,
    ModprobeArgs,
    ModuleLoader,
    ModuleLoaderContainer,
    Sign,
    TLSOptions,
)

__all__ = [
    "DEVICE_PLUGIN_PATH",
    "DEVICE_PLUGIN_VOLUME",
    "LOADED_MODULE_PATH",
    "LOADED_MODULE_VOLUME",
    "Build",
    "BuildArg",
    "DevicePlugin",
    "DevicePluginContainer",
    "KanikoParams",
    "KernelMapping",
    "LocalObjectReference",
    "Metadata",
    "Modprobe",
    "ModprobeArgs",
    "Module",
    "ModuleLoader",
    "ModuleLoaderContainer",
    "ModuleSpec",
    "Sign",
    "TLSOptions",
    "Toleration",
]
