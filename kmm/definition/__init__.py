"""What users write: the models of a Module file. Pure; reading files is `kmm.loading`'s."""

from kmm.definition.kubernetes import LocalObjectReference, Toleration
from kmm.definition.module import (
    DEVICE_PLUGIN_VOLUME,
    Build,
    BuildArg,
    DevicePlugin,
    DevicePluginContainer,
    KanikoParams,
    KernelMapping,
    Metadata,
    Modprobe,
    ModprobeArgs,
    Module,
    ModuleLoader,
    ModuleLoaderContainer,
    ModuleSpec,
    Sign,
    TLSOptions,
)

__all__ = [
    "DEVICE_PLUGIN_VOLUME",
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
