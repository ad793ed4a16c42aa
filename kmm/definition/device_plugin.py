"""The part of a Module that says how its devices are offered to the kubelet."""

from typing import Final, Self

from pydantic import Field, model_validator

from kmm.definition.formats import Image, ObjectName
from kmm.definition.kubernetes import EnvironmentVariable, PullPolicy, Resources, VolumeMount
from kmm.definition.model import Definition, Sequence, field_error
from kmm.definition.volumes import Volume

# Added to every device plugin; users may mount the first one elsewhere too.
DEVICE_PLUGIN_VOLUME: Final = "kubelet-device-plugins"
LOADED_MODULE_VOLUME: Final = "kmm-loaded-module"
DEVICE_PLUGIN_PATH: Final = "/var/lib/kubelet/device-plugins"
LOADED_MODULE_PATH: Final = "/run/kmm/loaded-module"
_ADDED_VOLUMES: Final = (DEVICE_PLUGIN_VOLUME, LOADED_MODULE_VOLUME)
_ADDED_PATHS: Final = (DEVICE_PLUGIN_PATH, LOADED_MODULE_PATH)


class DevicePluginContainer(Definition):
    """The container of the device plugin."""

    image: Image
    image_pull_policy: PullPolicy | None = None
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Sequence[EnvironmentVariable] = ()
    resources: Resources = Field(default_factory=dict)
    volume_mounts: Sequence[VolumeMount] = ()


class DevicePlugin(Definition):
    """The pods that offer devices to the kubelet on nodes where the kernel module is loaded."""

    container: DevicePluginContainer
    service_account_name: ObjectName | None = None
    volumes: Sequence[Volume] = ()

    @model_validator(mode="after")
    def _volumes_have_names_of_their_own(self) -> Self:
        names = [volume["name"] for volume in self.volumes]
        for index, name in enumerate(names):
            if name in _ADDED_VOLUMES:
                message = f"{name!r} is the name of a volume that device plugins get anyway; give yours another name"
                raise field_error(message, name, "volumes", index, "name")
            if name in names[:index]:
                raise field_error(f"{name!r} is the name of another volume too", name, "volumes", index, "name")
        return self

    @model_validator(mode="after")
    def _mounts_have_volumes(self) -> Self:
        names = [volume["name"] for volume in self.volumes]
        for index, mount in enumerate(self.container.volume_mounts):
            if mount["name"] not in (*names, DEVICE_PLUGIN_VOLUME):
                message = f"{mount['name']!r} is not the name of a volume; volumes are {', '.join(names) or 'none'}"
                raise field_error(message, mount["name"], "container", "volumeMounts", index, "name")
        return self

    @model_validator(mode="after")
    def _mounts_have_places_of_their_own(self) -> Self:
        places = [mount["mountPath"] for mount in self.container.volume_mounts]
        for index, place in enumerate(places):
            field = ("container", "volumeMounts", index, "mountPath")
            if place in _ADDED_PATHS:
                raise field_error(f"{place} is mounted in device plugins anyway; leave it out", place, *field)
            if place in places[:index]:
                raise field_error(f"{place} is where another volume is mounted too", place, *field)
        return self
