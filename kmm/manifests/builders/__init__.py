"""The programs that can build an image in a pod, one file each behind one interface (`interface.py`)."""

from collections.abc import Mapping
from typing import Final

from kmm.jobs import Builder
from kmm.manifests.builders.buildah import BUILDAH
from kmm.manifests.builders.buildkit import BUILDKIT
from kmm.manifests.builders.interface import BuildContainer, BuilderTool, BuildRequest
from kmm.manifests.builders.kaniko import KANIKO

__all__ = ["BUILDERS", "BuildContainer", "BuildRequest", "BuilderTool"]

BUILDERS: Final[Mapping[Builder, BuilderTool]] = {
    Builder.BUILDAH: BUILDAH,
    Builder.BUILDKIT: BUILDKIT,
    Builder.KANIKO: KANIKO,
}
