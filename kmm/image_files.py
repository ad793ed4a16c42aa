"""Whether an image holds the kernel modules that modprobe will ask for. Pure: it is told of files, layer by layer.

Layers come topmost first, so that a search can end with the first of them. What a layer hides of those below it
follows the OCI image specification (layer.md: whiteouts, opaque whiteouts, files in the place of folders).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MODULE_INDEX: Final = "modules.dep"
_MODULE_FILE: Final = re.compile(r"(?P<name>.+)\.ko(\.(gz|xz|zst))?")
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_NOT_INDEXED: Final = ("build", "source")  # links to the kernel's headers, which depmod leaves out
_MAX_LINKS: Final = 40  # followed for one path, as Linux does


class Kind(Enum):
    """What a path of a layer is."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """A path in a layer, without a leading `/`; `content` is a symbolic link's target or a module index's text."""

    path: str
    kind: Kind
    content: str = ""


@dataclass(frozen=True, slots=True)
class ModuleFolder:
    """What modprobe will look for: these kernel modules anywhere below `path`, which is `DIR/lib/modules/RELEASE`."""

    path: str
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundModules:
    """What there is of a ModuleFolder: the files, the modules without one, and those that the index leaves out.

    modprobe looks nowhere but in the index; `unindexed` is None when there is none.
    """

    files: tuple[str, ...]
    missing: tuple[str, ...]
    unindexed: tuple[str, ...] | None

    @property
    def decided(self) -> bool:
        """Whether lower layers can't change the answer: all is there, or the index leaves a module out."""
        return self.unindexed is not None and (bool(self.unindexed) or not self.missing)


class ImageFiles:
    """The files of an image as far as its layers were told, searched for some ModuleFolders."""

    def __init__(self, wanted: Sequence[ModuleFolder]) -> None:
        self._wanted = wanted
        self._names = {_normal(name) for folder in wanted for name in folder.modules}
        self._entries: dict[str, Entry] = {}
        self._links: dict[str, str] = {}
        self._candidates: dict[str, str] = {}  # path to the name of the module
        # `a/b` hides that path of the lower layers and all below it, `a/b/` only what is below.
        self._hidden: set[str] = set()
        self._hidden_by_layer: set[str] = set()

    def add(self, entry: Entry) -> bool:
        """Take in a path of the current layer; True when it is of the sort that is looked for."""
        folder, slash, name = entry.path.rpartition("/")
        if name == _OPAQUE:
            self._hidden_by_layer.add(f"{folder}/")
        elif name.startswith(_WHITEOUT):
            self._hidden_by_layer.add(f"{folder}{slash}{name.removeprefix(_WHITEOUT)}")
        elif not self._is_hidden(entry):
            return self._keep(entry, name)
        return False

    def end_layer(self) -> None:
        """What follows is of the next lower layer."""
        self._hidden |= self._hidden_by_layer
        self._hidden_by_layer.clear()

    def found(self) -> tuple[FoundModules, ...]:
        """What is known so far, in the order of what is wanted."""
        return tuple(map(self._find, self._wanted))

    def _is_hidden(self, entry: Entry) -> bool:
        above = self._entries.get(entry.path)
        if above is not None and above.kind is Kind.FOLDER and entry.kind is not Kind.FOLDER:
            return True
        return entry.path in self._hidden or any(
            place in self._hidden for parent in _parents(entry.path) for place in (parent, f"{parent}/")
        )

    def _keep(self, entry: Entry, name: str) -> bool:
        for parent in _parents(entry.path):  # not all tools write entries for folders
            self._entries.setdefault(parent, Entry(parent, Kind.FOLDER))
        self._entries[entry.path] = entry
        if entry.kind is not Kind.FOLDER:
            self._hidden_by_layer.add(entry.path)
        if entry.kind is Kind.LINK:
            self._links[entry.path] = entry.content
        if module_name(name) in self._names:
            self._candidates[entry.path] = module_name(name)
        return entry.path in self._candidates or name == MODULE_INDEX

    def _find(self, wanted: ModuleFolder) -> FoundModules:
        folder = self._resolve(wanted.path)
        places = tuple(f"{place}/" for place in (folder, *self._linked_folders(folder)))
        files = {
            module: f"/{path}"
            for path, module in self._candidates.items()
            if path.startswith(places) and self._file(path) is not None
        }
        index = self._file(f"{folder}/{MODULE_INDEX}")
        indexed = None if index is None else _indexed_modules(index.content)
        return FoundModules(
            files=tuple(files[_normal(name)] for name in wanted.modules if _normal(name) in files),
            missing=tuple(name for name in wanted.modules if _normal(name) not in files),
            unindexed=None if indexed is None else tuple(n for n in wanted.modules if _normal(n) not in indexed),
        )

    def _file(self, path: str) -> Entry | None:
        entry = self._entries.get(self._resolve(path))
        return entry if entry is not None and entry.kind is Kind.FILE else None

    def _linked_folders(self, folder: str) -> Iterator[str]:
        for link in self._links:
            if link.startswith(f"{folder}/") and link.removeprefix(f"{folder}/") not in _NOT_INDEXED:
                yield self._resolve(link)

    def _resolve(self, path: str) -> str:
        """`path` with symbolic links followed, within the image; what is not known to be one stays as it is."""
        rest, real, followed = path.split("/"), [""], 0
        while rest:
            step = rest.pop(0)
            if step in ("", "."):
                continue
            if step == "..":
                real = real[:-1] or [""]
                continue
            real.append(step)
            target = self._links.get("/".join(real[1:]))
            if target is not None and followed < _MAX_LINKS:
                followed += 1
                rest = target.split("/") + rest
                real = [""] if target.startswith("/") else real[:-1]
        return "/".join(real[1:])


def module_name(file_name: str) -> str:
    """The name of the kernel module in a file of this name, with `_` for `-`; empty if it is no module's."""
    match = _MODULE_FILE.fullmatch(file_name)
    return _normal(match["name"]) if match else ""


def _normal(name: str) -> str:
    """To modprobe, `-` and `_` are the same."""
    return name.replace("-", "_")


def _indexed_modules(index: str) -> set[str]:
    """The modules of a `modules.dep`, whose lines are `PATH: PATHS OF DEPENDENCIES` (modules.dep(5))."""
    return {module_name(line.partition(":")[0].rpartition("/")[2]) for line in index.splitlines()}


def _parents(path: str) -> Iterator[str]:
    """`a/b` and `a` and the root (an empty text) for `a/b/c`."""
    while path:
        path = path.rpartition("/")[0]
        yield path
