"""Settings of build and sign Jobs: `kmm:builder`, `kmm:build` and `kmm:sign`."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from kmm.definition import Toleration
from kmm.definition.formats import Image, LabelKey, LabelValue
from kmm.definition.kubernetes import Resources
from kmm.definition.model import Definition, Sequence
from kmm.duration import Duration


class Builder(StrEnum):
    """The program that builds images."""

    BUILDAH = "buildah"
    BUILDKIT = "buildkit"
    KANIKO = "kaniko"


class PodSettings(Definition):
    """What build and sign Jobs have in common.

    `node_selector` is added to the Module's `build.selector` and stands in for its `spec.selector`; `tolerations` are
    added to its own. `timeout` (`1h`, `90m`) counts from when the pod is on a node, with the wait for its image.
    """

    image: Image | None = None
    resources: Resources = Field(default_factory=dict)
    node_selector: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: Sequence[Toleration] = ()
    timeout: Duration = timedelta(hours=1)


class BuildSettings(PodSettings):
    """Settings of build Jobs; `image` is the builder's, `arguments` are added to its build command."""

    arguments: Sequence[str] = ()


class SignSettings(PodSettings):
    """Settings of sign Jobs; `image` is that made from `loader-image/signer`."""


class JobSettings(Definition):
    """All settings of Jobs."""

    builder: Builder = Field(default=Builder.BUILDAH, strict=False)
    build: BuildSettings = BuildSettings()
    sign: SignSettings = SignSettings()
