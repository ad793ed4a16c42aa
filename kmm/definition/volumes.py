"""The shape of a pod's volumes (core/v1), passed through exactly as given."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kmm.definition.formats import DnsLabel, ObjectName, Quantity
from kmm.definition.kubernetes import FieldSelector, OneOf, ResourceSelector, Shaped
from kmm.definition.model import Definition, Sequence


class _KeyToPath(Definition):
    key: str
    path: str
    mode: int | None = None


class _ConfigMapProjection(Definition):
    name: ObjectName | None = None
    items: Sequence[_KeyToPath] = ()
    optional: bool | None = None


class _ConfigMapVolume(_ConfigMapProjection):
    default_mode: int | None = None


class _SecretVolume(Definition):
    secret_name: ObjectName | None = None
    items: Sequence[_KeyToPath] = ()
    default_mode: int | None = None
    optional: bool | None = None


class _DownwardFile(OneOf):
    alternatives = ("field_ref", "resource_field_ref")
    path: str
    mode: int | None = None
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None


class _DownwardProjection(Definition):
    items: Sequence[_DownwardFile] = ()


class _DownwardVolume(_DownwardProjection):
    default_mode: int | None = None


class _TokenProjection(Definition):
    path: str
    audience: str | None = None
    expiration_seconds: int | None = None


class _ProjectedSource(OneOf):
    alternatives = ("config_map", "secret", "downward_api", "service_account_token", "cluster_trust_bundle")
    config_map: _ConfigMapProjection | None = None
    secret: _ConfigMapProjection | None = None
    downward_api: _DownwardProjection | None = None
    service_account_token: _TokenProjection | None = None
    cluster_trust_bundle: Mapping[str, Any] | None = None


class _ProjectedVolume(Definition):
    sources: Sequence[_ProjectedSource] = ()
    default_mode: int | None = None


class _EmptyDirectory(Definition):
    medium: str | None = None
    size_limit: Quantity | None = None


class _HostPath(Definition):
    path: str
    type: (
        Literal["DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"] | None
    ) = None


class _ClaimVolume(Definition):
    claim_name: ObjectName
    read_only: bool | None = None


class _Volume(OneOf):
    """A volume; without a source it is an emptyDir. Rare and retired sources are not looked into."""

    alternatives = (
        "aws_elastic_block_store",
        "azure_disk",
        "azure_file",
        "cephfs",
        "cinder",
        "config_map",
        "csi",
        "downward_api",
        "empty_dir",
        "ephemeral",
        "fc",
        "flex_volume",
        "flocker",
        "gce_persistent_disk",
        "git_repo",
        "glusterfs",
        "host_path",
        "image",
        "iscsi",
        "nfs",
        "persistent_volume_claim",
        "photon_persistent_disk",
        "portworx_volume",
        "projected",
        "quobyte",
        "rbd",
        "scale_io",
        "secret",
        "storageos",
        "vsphere_volume",
    )
    name: DnsLabel
    aws_elastic_block_store: Mapping[str, Any] | None = None
    azure_disk: Mapping[str, Any] | None = None
    azure_file: Mapping[str, Any] | None = None
    cephfs: Mapping[str, Any] | None = None
    cinder: Mapping[str, Any] | None = None
    config_map: _ConfigMapVolume | None = None
    csi: Mapping[str, Any] | None = None
    downward_api: _DownwardVolume | None = None
    empty_dir: _EmptyDirectory | None = None
    ephemeral: Mapping[str, Any] | None = None
    fc: Mapping[str, Any] | None = None
    flex_volume: Mapping[str, Any] | None = None
    flocker: Mapping[str, Any] | None = None
    gce_persistent_disk: Mapping[str, Any] | None = None
    git_repo: Mapping[str, Any] | None = None
    glusterfs: Mapping[str, Any] | None = None
    host_path: _HostPath | None = None
    image: Mapping[str, Any] | None = None
    iscsi: Mapping[str, Any] | None = None
    nfs: Mapping[str, Any] | None = None
    persistent_volume_claim: _ClaimVolume | None = None
    photon_persistent_disk: Mapping[str, Any] | None = None
    portworx_volume: Mapping[str, Any] | None = None
    projected: _ProjectedVolume | None = None
    quobyte: Mapping[str, Any] | None = None
    rbd: Mapping[str, Any] | None = None
    scale_io: Mapping[str, Any] | None = Field(default=None, alias="scaleIO")
    secret: _SecretVolume | None = None
    storageos: Mapping[str, Any] | None = None
    vsphere_volume: Mapping[str, Any] | None = None


Volume = Annotated[Mapping[str, Any], Shaped(_Volume)]
