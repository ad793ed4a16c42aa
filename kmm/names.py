"""Every label and annotation key, every object name. A literal `kmm.node...` elsewhere is a review error.

Keys are the operator's (kernel-module-management v1.1.0), so that its users' nodes and selectors keep working.
"""

import hashlib
import re
from typing import Final

API_GROUP: Final = "kmm.sigs.x-k8s.io"
API_VERSION: Final = f"{API_GROUP}/v1beta1"
MODULE_KIND: Final = "Module"
LIST_KINDS: Final = ("List", f"{MODULE_KIND}List")

NODE_PREFIX: Final = "kmm.node.kubernetes.io/"
MODULE_NAME_LABEL: Final = NODE_PREFIX + "module.name"
KERNEL_LABEL: Final = NODE_PREFIX + "kernel-version.full"
ROLE_LABEL: Final = NODE_PREFIX + "role"
TARGET_KERNEL_LABEL: Final = NODE_PREFIX + "target-kernel"
JOB_TYPE_LABEL: Final = NODE_PREFIX + "job-type"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"

MANAGED_BY: Final = "kmm"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
UNLOAD_POLICY_ANNOTATION: Final = f"{API_GROUP}/unload-policy"
FUTURE_KERNELS_ANNOTATION: Final = f"{API_GROUP}/future-kernels"
PRIVILEGED_DEVICE_PLUGIN_ANNOTATION: Final = f"{API_GROUP}/privileged-device-plugin"
TEMPLATE_HASH_ANNOTATION: Final = f"{API_GROUP}/template-hash"

# What users may set on a Module.
MODULE_ANNOTATIONS: Final = (FUTURE_KERNELS_ANNOTATION, PRIVILEGED_DEVICE_PLUGIN_ANNOTATION, UNLOAD_POLICY_ANNOTATION)

NFD_API_VERSION: Final = "nfd.k8s-sigs.io/v1alpha1"
NFD_KERNEL_LABEL: Final = "feature.node.kubernetes.io/kernel-version.full"

ROLE_MODULE_LOADER: Final = "module-loader"
ROLE_DEVICE_PLUGIN: Final = "device-plugin"

MAX_NAME: Final = 63  # a DNS-1123 label; pods of a DaemonSet and a Job carry the owner's name in labels
_HASH_LENGTH: Final = 10


def ready_label(namespace: str, name: str) -> str:
    """Node label that says the loader pod of this Module is Ready there."""
    return f"{NODE_PREFIX}{namespace}.{name}.ready"


def device_plugin_ready_label(namespace: str, name: str) -> str:
    """Node label that says the device-plugin pod of this Module is Ready there."""
    return f"{NODE_PREFIX}{namespace}.{name}.device-plugin-ready"


def loaded_label(namespace: str, name: str) -> str:
    """Node label by which Node Feature Discovery says that the kernel holds this Module's module.

    In a namespace that NFD lets its rules use; there it refuses `kmm.node.kubernetes.io`.
    """
    return f"loaded.kmm.feature.node.kubernetes.io/{namespace}.{name}"


def version_label(namespace: str, name: str) -> str:
    """Node label by which the user chooses the version of a Module on that node."""
    return f"{NODE_PREFIX}version-module.{namespace}.{name}"


def label_value(text: str) -> str:
    """`text` as a label value, by Node Feature Discovery's rule: illegal characters become `_`, ends trimmed.

    At most 63 characters, the API's limit. Not injective: `5.10+a` and `5.10_a` share one value.
    """
    return re.sub(r"[^-A-Za-z0-9_.]", "_", text)[:MAX_NAME].strip("-_.")


def object_name(*parts: str) -> str:
    """A DNS-1123 label (at most 63 characters) made of `parts`; different parts never share a name.

    The parts are lower-cased and cut for the reader; a hash over the exact parts keeps names apart and is the
    same for ever: it names live objects, whose renaming would unload kernel modules.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_HASH_LENGTH]
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{readable[: MAX_NAME - _HASH_LENGTH - 1].strip('-')}-{digest}".lstrip("-")
