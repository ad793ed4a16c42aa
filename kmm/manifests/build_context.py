"""What is built: the content of a ConfigMap, kept in a copy so that it cannot change between preview and build."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from kmm.definition import Module
from kmm.manifests.common import FIELD_MANAGER, Manifest, digest, metadata
from kmm.names import JOB_TYPE_LABEL, MODULE_NAME_LABEL, object_name

DOCKERFILE_KEYS: Final = ("dockerfile", "Dockerfile")  # the operator's, and that of the v1.0 documents
DOCKERFILE: Final = "Dockerfile"


@dataclass(frozen=True)
class BuildContext:
    """A Dockerfile, and the files that its COPY finds: by name, `texts` as they are and `binaries` in base64."""

    dockerfile: str
    texts: Mapping[str, str] = field(default_factory=dict)
    binaries: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_config_map(cls, data: Mapping[str, str], binary_data: Mapping[str, str]) -> Self:
        """The content of a ConfigMap. KeyError when it has none of DOCKERFILE_KEYS."""
        key = next((key for key in DOCKERFILE_KEYS if key in data), DOCKERFILE)
        texts = {name: text for name, text in data.items() if name not in DOCKERFILE_KEYS}
        return cls(data[key], texts, dict(binary_data))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, sorted."""
        return tuple(sorted({DOCKERFILE, *self.texts, *self.binaries}))


def build_context_manifest(module: Module, data: Mapping[str, str], binary_data: Mapping[str, str]) -> Manifest:
    """An immutable ConfigMap named after its content; kernels that build from the same share it."""
    name = object_name(module.metadata.name, "build-context", digest([data, binary_data]))
    labels = {MODULE_NAME_LABEL: module.metadata.name, JOB_TYPE_LABEL: "build"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(module, name, labels, FIELD_MANAGER),
        "immutable": True,
        "data": dict(data),
        **({"binaryData": dict(binary_data)} if binary_data else {}),
    }
