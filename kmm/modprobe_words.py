"""What modprobe's, the kernel's and our own loaders' words mean for somebody who deploys modules."""

import re
from typing import Final

# What the commands of a loader add to modprobe's words (`kmm.manifests.modprobe`).
UNLOAD_FAILED: Final = "unload failed: "
WAS_LOADED: Final = "is in the kernel already, and stays as it was loaded"

# Sources: kmod's messages are strerror(3) of what init_module(2) returned; the kernel's are in kernel/module/.
_MEANINGS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (
            r"(?m)^exec .*exec format error|standard_init_linux.*exec format error",
            "The image is for another processor architecture than the node has: push one for each, under one tag.",
        ),
        (
            r"no space left on device|low on resource: ephemeral-storage",
            "The node's disk is full: free some of it, for instance by removing images that nothing uses "
            "(`crictl rmi --prune`).",
        ),
        (
            r"exec format error|invalid module format|version magic",
            "The module was built for another kernel than this node runs: build the image against exactly this "
            "kernel's headers, and keep the kernel version in the image's tag.",
        ),
        (
            r"required key not available|key was rejected|loading of (unsigned )?module|lockdown",
            "The kernel only takes modules signed with a key that it trusts (Secure Boot, lockdown or "
            "module.sig_enforce): sign the module (`sign:` in the mapping) and enrol the certificate on the node.",
        ),
        (
            r"operation not permitted",
            "The kernel refused: Secure Boot or lockdown wants a signed module, or the container lacks CAP_SYS_MODULE "
            "(a policy on the namespace may have taken it away).",
        ),
        (
            r"unknown symbol|disagrees about version of symbol",
            "The module needs a symbol that is not in this kernel: a module that it depends on is not loaded (see "
            "`modulesLoadingOrder`), or it was built against another kernel.",
        ),
        (
            r"module \S+ not found in (directory|modules\.dep)|could not open moddep file|can't change directory to",
            "The image holds no such module for this kernel: it must be in <dirName>/lib/modules/<kernel>, with the "
            "modules.dep that `depmod -b <dirName> <kernel>` makes.",
        ),
        (
            r"cp: .*(cannot|can't) stat",
            "The image holds no files in `firmwarePath`.",
        ),
        (
            r"firmware",
            "The driver did not find its firmware: set `firmwarePath`, and let the node's kernel look in "
            "/var/lib/firmware (parameter firmware_class.path).",
        ),
        (
            r"is in use|device or resource busy|resource temporarily unavailable",
            "Something uses the module: another module, a process, or a device that is bound to it. "
            "`lsmod` on the node shows how many and which.",
        ),
        (
            r"is builtin",
            "The module is built into this kernel: it can't be unloaded, nor replaced by one of an image.",
        ),
        (
            r"no such device",
            "The driver found no device that it serves on this node: narrow `spec.selector` to nodes that have one.",
        ),
        (
            r"invalid argument|unknown parameter|invalid for parameter",
            "The module refused its parameters: compare `modprobe.parameters` with `modinfo -p`.",
        ),
        (
            r"manifest unknown|not found.*(manifest|image)|failed to resolve reference|pull access denied|unauthorized"
            r"|back-off pulling image|failed to pull",
            "The node cannot pull the image: check its name and tag, and the Secret in `imageRepoSecret`; mirrors and "
            "certificates of the node's container runtime are configured on the node.",
        ),
        (
            r"violates PodSecurity",
            "The namespace refuses pods with the rights that loaders need: label it "
            "pod-security.kubernetes.io/enforce=privileged.",
        ),
        (
            r"cannot allocate memory",
            "The kernel has no memory left for the module.",
        ),
        (
            r"(modprobe|sh|sleep): (command )?not found|executable file not found|/sh: no such file or directory",
            "The image lacks a program that loading needs: `sh`, `modprobe` and `sleep`.",
        ),
    )
)


def explain(words: str) -> str | None:
    """What the last words of a loader usually mean and what to do, None when nothing is known about them."""
    return next((meaning for pattern, meaning in _MEANINGS if pattern.search(words)), None)


_FAILURE: Final = re.compile(r"\b(ERROR|FATAL|error|failed|cannot|can't|could not)\b")


def telling_line(words: str) -> str:
    """The line of a loader's last words that says what failed, else the last one.

    modprobe's error comes before what `-v` says of the file it tries: that waits in a buffer until modprobe ends.
    """
    lines = words.splitlines()
    return next((line for line in reversed(lines) if _FAILURE.search(line)), lines[-1] if lines else "")
