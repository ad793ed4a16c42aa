"""Kernel versions as nodes report them, and the template variables made of one."""

import re
from collections.abc import Mapping
from typing import Final

from kmm.errors import PlanError
from kmm.names import label_value

MODULES_FOLDER: Final = "/lib/modules/"  # followed by the kernel's `uname -r`

VARIABLES: Final = (
    "KERNEL_FULL_VERSION",
    "KERNEL_VERSION",
    "KERNEL_XYZ",
    "KERNEL_X",
    "KERNEL_Y",
    "KERNEL_Z",
    "MOD_NAME",
    "MOD_NAMESPACE",
)

_REFERENCE: Final = re.compile(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def trim_kernel_version(kernel_version: str) -> str:
    """`status.nodeInfo.kernelVersion` without its trailing `+`, which a label value cannot hold.

    Source: kernel-module-management v1.1.0, which trims one.
    """
    return kernel_version.removesuffix("+")


def kernel_label_value(kernel_version: str) -> str:
    """Value of the label by which a node that reports this kernel version is found."""
    return label_value(trim_kernel_version(kernel_version))


def template_variables(kernel: str, name: str, namespace: str) -> dict[str, str]:
    """The variables that a template may use for a (trimmed) kernel version and a Module.

    KERNEL_X, KERNEL_Y, KERNEL_Z and KERNEL_XYZ are the parts before the first three of `.`, `,` and `-`; they
    are left out where the version has fewer parts.
    """
    variables = {
        "KERNEL_FULL_VERSION": kernel,
        "KERNEL_VERSION": kernel,
        "MOD_NAME": name,
        "MOD_NAMESPACE": namespace,
    }
    parts = re.split("[.,-]", kernel)[:3]
    if len(parts) == 3:
        variables |= {"KERNEL_XYZ": ".".join(parts)}
        variables |= dict(zip(("KERNEL_X", "KERNEL_Y", "KERNEL_Z"), parts, strict=True))
    return variables


def referenced_variables(template: str) -> tuple[str, ...]:
    """Names of the variables that `template` refers to as `${NAME}` or `$NAME`, in order."""
    return tuple(match["braced"] or match["bare"] or "" for match in _REFERENCE.finditer(template))


def expand(template: str, variables: Mapping[str, str]) -> str:
    """`template` with each `${NAME}` and `$NAME` replaced.

    Raises PlanError for a name that is not in `variables`.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"] or ""
        if name not in variables:
            raise PlanError(f"{template}: no value for ${{{name}}}; known here: {', '.join(sorted(variables))}")
        return variables[name]

    return _REFERENCE.sub(value, template)


def sysfs_module_path(module: str) -> str:
    """Folder that exists while the kernel holds the module; the kernel writes `_` for each `-` of its name."""
    return f"/sys/module/{module.replace('-', '_')}"
