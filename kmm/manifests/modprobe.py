"""The shell commands that load and unload a module inside a ModuleLoader pod.

Every value from a Module file is quoted. The order of the parts is the operator's (v1.1.0): in-tree module out,
firmware in, modprobe; on the way out modprobe -r, then the firmware.
"""

import re
import shlex
from itertools import pairwise
from typing import Final

from kmm.definition import Modprobe
from kmm.kernel import sysfs_module_path
from kmm.modprobe_words import UNLOAD_FAILED, WAS_LOADED

FIRMWARE_DIRECTORY: Final = "/var/lib/firmware"
GRACE_SECONDS: Final = 60  # for the pod to end: the tries below, and modprobe's own time

_LAST_WORDS: Final = "/dev/termination-log"
_UNLOAD_TRIES: Final = 10
_UNLOAD_PAUSE: Final = 2  # seconds

# In a container's command, not in hooks, the kubelet writes $ for $$ and expands $(NAME) of the container's variables;
# it sets some itself, such as KUBERNETES_SERVICE_HOST. Any other $(...) it leaves alone, with all that is inside.
_KUBELET_VARIABLE: Final = re.compile(r"(?P<expanded>\$\$|\$\([A-Z0-9_]+\))|\$\([^)]*\)")


def load_command(modprobe: Modprobe, in_tree_module_to_remove: str | None) -> list[str]:
    """The container's own command: modprobe's words reach `kubectl logs`, its failure the pod's status."""
    steps = []
    if in_tree_module_to_remove:
        steps.append(_remove_in_tree(in_tree_module_to_remove, modprobe))
    if modprobe.firmware_path:
        steps.append(f"cp -r {shlex.quote(modprobe.firmware_path)}/* {FIRMWARE_DIRECTORY}")
    if modprobe.module_name:
        steps.append(_say_if_loaded(modprobe.module_name))
    steps.append(shlex.join(["modprobe", *_load_arguments(modprobe)]))
    steps.append("exec sleep infinity")
    return _shell(_KUBELET_VARIABLE.sub(_keep_from_kubelet, " && ".join(steps)))


def unload_command(modprobe: Modprobe) -> list[str]:
    """The preStop hook: unloads, then removes the firmware files by the names that loading copied.

    A module may be in use for a moment longer, so it tries for some 20 seconds. After each try its words are where the
    pod's last status has them (`UNLOAD_FAILED` and what modprobe said): Kubernetes tells nobody else, and ends the pod
    anyway; on a node under load that is in the middle of the tries. After a reboot into another kernel modprobe knows
    no such module, and the kernel has none: nothing failed. Nor where a module of the order stays that another module
    uses, or that is built in.
    """
    unload = shlex.join(["modprobe", *_unload_arguments(modprobe)])
    steps = [
        f"tries=0; until words=$({unload} 2>&1){_or_is_gone(modprobe)}",
        f"do {_report_failure(modprobe)}; tries=$((tries + 1))",
        f"[ $tries -lt {_UNLOAD_TRIES} ] || exit 1",
        f"sleep {_UNLOAD_PAUSE}; done",
        f": >{_LAST_WORDS}",
    ]
    if modprobe.firmware_path:
        steps.append(_remove_firmware(modprobe.firmware_path))
    return _shell("; ".join(steps))


def _or_is_gone(modprobe: Modprobe) -> str:
    if not modprobe.module_name:
        return ""
    is_gone = f"[ ! -d {shlex.quote(sysfs_module_path(modprobe.module_name))} ]"
    others = [shlex.quote(sysfs_module_path(name)) for name in modprobe.modules_loading_order or ()][1:]
    # Only what is not built in has an initstate (kernel/module/sysfs.c).
    may_stay = [f'{{ [ ! -e {other}/initstate ] || [ -n "$(ls {other}/holders)" ]; }}' for other in others]
    return f" || {{ {' && '.join([is_gone, *may_stay])}; }}" if may_stay else f" || {is_gone}"


def _report_failure(modprobe: Modprobe) -> str:
    """modprobe's words, and the modules that use this one."""
    words = f'printf "{UNLOAD_FAILED}%s" "$words"'
    if modprobe.module_name:
        holders = shlex.quote(f"{sysfs_module_path(modprobe.module_name)}/holders")
        words += f'; printf " (used by: %s)" "$(ls {holders} 2>/dev/null | tr "\\n" " ")"'
    return f"{{ {words}; }} >{_LAST_WORDS}"


def ready_command(modprobe: Modprobe) -> list[str] | None:
    """Succeeds while the kernel holds the module; None with `rawArgs`, which name no module."""
    if not modprobe.module_name:
        return None
    return _shell(f"[ -d {shlex.quote(sysfs_module_path(modprobe.module_name))} ]")


def softdep_configuration(modprobe: Modprobe) -> str | None:
    """modprobe.d lines that load `modulesLoadingOrder` from its end to its start, None without an order."""
    order = modprobe.modules_loading_order or ()
    lines = [f"softdep {first} pre: {second}\n" for first, second in pairwise(order)]
    return "".join(lines) or None


def _shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def _keep_from_kubelet(match: re.Match[str]) -> str:
    return match[0].replace("$", "$$") if match["expanded"] else match[0]


def _directory(modprobe: Modprobe) -> list[str]:
    return ["-d", modprobe.dir_name] if modprobe.dir_name else []


def _load_arguments(modprobe: Modprobe) -> list[str]:
    if modprobe.raw_args and modprobe.raw_args.load:
        return list(modprobe.raw_args.load)
    options = modprobe.args.load if modprobe.args and modprobe.args.load else ["-v"]
    return [*options, *_directory(modprobe), str(modprobe.module_name), *modprobe.parameters]


def _unload_arguments(modprobe: Modprobe) -> list[str]:
    if modprobe.raw_args and modprobe.raw_args.unload:
        return list(modprobe.raw_args.unload)
    options = modprobe.args.unload if modprobe.args and modprobe.args.unload else ["-rv"]
    # Soft dependencies alone leave behind a module that also has a hard one: name the whole list.
    modules = modprobe.modules_loading_order or (str(modprobe.module_name),)
    return [*options, *_directory(modprobe), *modules]


def _remove_in_tree(name: str, modprobe: Modprobe) -> str:
    """Only while it is loaded, and by the node's own /lib/modules: modprobe -r knows no module that is not there.

    When ours has the same name, a container that starts again meets its own module: the kernel marks that as
    out-of-tree (`O` in its taint, Documentation/admin-guide/tainted-kernels.rst), and it stays.
    """
    folder, remove = shlex.quote(sysfs_module_path(name)), shlex.join(["modprobe", "-r", name])
    if sysfs_module_path(name) in _own_modules(modprobe):
        remove = f"{{ read -r taint <{folder}/taint; case $taint in *O*) ;; *) {remove} ;; esac; }}"
    return f"{{ [ ! -d {folder} ] || {remove}; }}"


def _own_modules(modprobe: Modprobe) -> set[str]:
    """Folders of the modules that loading may bring in; any raw argument may be the name of one."""
    raw = modprobe.raw_args.load if modprobe.raw_args and modprobe.raw_args.load else ()
    names = [modprobe.module_name or "", *(modprobe.modules_loading_order or ()), *raw]
    return {sysfs_module_path(name) for name in names}


def _say_if_loaded(name: str) -> str:
    """modprobe says nothing then, and does nothing: neither does this image's file count, nor its parameters."""
    words = f"{name} {WAS_LOADED}: this image and its parameters do not count"
    return f"{{ [ ! -d {shlex.quote(sysfs_module_path(name))} ] || echo {shlex.quote(words)}; }}"


def _remove_firmware(source: str) -> str:
    """Files by name, then the folders that this left empty; nothing that loading did not copy."""
    remove_file = shlex.quote(f'rm -f -- "{FIRMWARE_DIRECTORY}/$1"')
    remove_folder = shlex.quote(f'rmdir -- "{FIRMWARE_DIRECTORY}/$1" 2>/dev/null')
    return (
        f"cd {shlex.quote(source)}"
        f" && find ./* ! -type d -exec sh -c {remove_file} - {{}} \\;"
        f" && find ./* -depth -type d -exec sh -c {remove_folder} - {{}} \\;"
    )
