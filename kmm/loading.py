"""Reads Module files: every problem of every file is found before anything stops."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kmm import checks
from kmm.definition import Module
from kmm.definition.messages import explain
from kmm.documents import Document, Position, parse_documents
from kmm.names import LIST_KINDS, MODULE_KIND
from kmm.problems import DefinitionError, FieldPath, Problem, Severity, field_name, shown

MAX_BYTES: Final = 4 * 1024 * 1024  # per file; a thousand Modules
MAX_PROBLEMS: Final = 100  # reported per document

_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Module is defined; `line` counts from 1, and is 0 for an object of the cluster."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid Modules in order of namespace and name; `sources` is keyed by `Module.key`."""

    modules: tuple[Module, ...]
    warnings: tuple[Problem, ...]
    sources: Mapping[str, Source]


def load_modules(paths: Iterable[str | Path], live: Iterable[Mapping[str, object]] = ()) -> Loaded:
    """The Modules in files, folders (with their subfolders: *.yaml, *.yml, *.json) and globs, and those in `live`.

    Hidden files and folders below a given folder are left out; a file reached twice is read once. `live` are objects
    as the API server gives them.
    Raises DefinitionError with every problem of every file and object.
    """
    loader = _Loader()
    for path in paths:
        loader.load_path(str(path))
    for module in live:
        loader.load_module(_live_place(module), module)
    if any(problem.severity is Severity.ERROR for problem in loader.problems):
        raise DefinitionError(loader.problems)
    return Loaded(
        modules=tuple(module for _, module in sorted(loader.modules.items())),
        warnings=tuple(sorted(loader.problems)),
        sources=loader.sources,
    )


@dataclass
class _Loader:
    """Gathers Modules and problems from file to file."""

    modules: dict[tuple[str, str], Module] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files_seen: set[tuple[int, int]] = field(default_factory=set)

    def load_path(self, path: str) -> None:
        """Reads one file, folder or glob."""
        try:
            files = list(_files(path))
        except OSError as error:
            self.error(str(error.filename or path), 1, f"cannot be read: {error.strerror or error}")
            return
        except ValueError as error:
            self.error(path, 1, str(error))
            return
        for file in files:
            self.load_file(file)

    def load_file(self, file: str) -> None:
        """Reads one file, unless it was read already."""
        try:
            text = self.read(file)
        except OSError as error:
            self.error(file, 1, f"cannot be read: {error.strerror or error}")
        except ValueError as error:
            self.error(file, 1, str(error))
        else:
            if text is not None:
                self.load_text(file, text)

    def read(self, file: str) -> str | None:
        """The text of a file; None when it was read before."""
        status = Path(file).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a regular file")
        identity = (status.st_dev, status.st_ino)
        if identity in self.files_seen:
            return None
        self.files_seen.add(identity)
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"is larger than {MAX_BYTES // 1024**2} MiB; split it")
        return _decode(content)

    def load_text(self, file: str, text: str) -> None:
        """Takes the Modules out of the text of a file."""
        documents, flaws = parse_documents(text)
        for flaw in flaws[:MAX_PROBLEMS]:
            self.error(file, flaw.line, flaw.message, flaw.path)
        filled = [document for document in documents if document.value is not None]
        if not filled and not flaws:
            self.error(file, 1, f"holds no {MODULE_KIND}: it is empty")
        for document in filled:
            self.load_object(_Place(file, document), document.value)

    def load_object(self, place: "_Place", value: object) -> None:
        """Takes a Module, or the Modules of a list."""
        if not isinstance(value, dict):
            self.add(place, (), f"must be a {MODULE_KIND}, not {shown(value)}")
            return
        kind = value.get("kind", MODULE_KIND)
        if kind in LIST_KINDS:
            items = value.get("items")
            if isinstance(items, list):
                for index, item in enumerate(items):
                    self.load_object(place.below("items", index), item)
            else:
                self.add(place, ("items",), f"must be a list, not {shown(items)}" if items else "is required")
        elif kind != MODULE_KIND:
            self.add(place, ("kind",), _other_kind(kind))
        else:
            self.load_module(place, value)

    def load_module(self, place: "_Place", value: object) -> None:
        """Checks one Module and keeps it."""
        try:
            module = Module.model_validate(value, by_alias=True, by_name=False)
        except ValidationError as error:
            found = explain(error)
            for path, message in found[:MAX_PROBLEMS]:
                self.add(place, path, message)
            if len(found) > MAX_PROBLEMS:
                self.add(place, (), f"has {len(found) - MAX_PROBLEMS} more problems")
            return
        first = self.sources.get(module.key)
        if first is not None:
            self.add(place, ("metadata", "name"), f"{module.key} is defined in {first} already")
            return
        self.modules[module.metadata.namespace, module.metadata.name] = module
        self.sources[module.key] = Source(place.file, place.line_of(()))
        for finding in checks.warnings(module):
            self.add(place, finding.path, finding.message, Severity.WARNING)

    def add(self, place: "_Place", path: FieldPath, message: str, severity: Severity = Severity.ERROR) -> None:
        """Notes a problem of an object."""
        field_path = field_name((*place.prefix, *path))
        self.problems.append(Problem(place.file, place.line_of(path), field_path, severity, message))

    def error(self, file: str, line: int, message: str, path: FieldPath = ()) -> None:
        """Notes a problem of a file."""
        self.problems.append(Problem(file, line, field_name(path), Severity.ERROR, message))


@dataclass(frozen=True, slots=True)
class _Place:
    """An object in a document of a file."""

    file: str
    document: Document
    prefix: FieldPath = ()

    def below(self, *path: str | int) -> "_Place":
        return _Place(self.file, self.document, (*self.prefix, *path))

    def line_of(self, path: FieldPath) -> int:
        return self.document.line_of((*self.prefix, *path))


def _live_place(module: Mapping[str, object]) -> _Place:
    """Stands for the file and line that an object of the cluster does not have."""
    match module.get("metadata"):
        case {"namespace": namespace, "name": name}:
            return _Place(f"cluster object {namespace}/{name}", Document(module, Position(0, [])))
    return _Place("cluster object without name", Document(module, Position(0, [])))


def _files(path: str) -> Iterator[str]:
    """The files that `path` means; raises OSError for an unreadable folder, ValueError for none."""
    if not path:
        raise ValueError("the path is empty")
    if Path(path).is_dir():
        found = list(_files_below(path))
        if not found:
            raise ValueError(f"holds no files named {', '.join('*' + suffix for suffix in _SUFFIXES)}")
        yield from found
    elif has_magic(path) and not os.path.lexists(path):
        _require_readable(path)
        matches = sorted(glob(path, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not matches:
            raise ValueError("matches no file")
        for match in matches:
            yield from _files_below(match) if Path(match).is_dir() else (match,)
    else:
        yield path


def _require_readable(pattern: str) -> None:
    """Raise OSError for a folder that a glob looks into and cannot read: `glob` leaves it out in silence."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if has_magic(part))
    for index in range(first, len(parts)):
        above = parts[: index + 1] if parts[index] == "**" else parts[:index]
        for folder in glob("/".join([*above, ""]), recursive=True) if above else ["."]:  # noqa: PTH207
            os.scandir(Path(folder)).close()


def _files_below(folder: str) -> Iterator[str]:
    """Files with a known suffix, in order of name; links are followed, but no folder is visited twice."""
    visited: set[str] = set()

    def fail(error: OSError) -> None:
        raise error  # os.walk would leave the folder out, and its Modules would be deleted

    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent) / name for name in sorted(names) if not name.startswith(".")):
            if path.is_symlink():
                path.stat()  # a link to nothing may be a folder of Modules that is not there now
            if path.name.endswith(_SUFFIXES):
                yield str(path)


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"is not UTF-8 text (line {line}, byte {content[error.start]:#x}); convert it") from error


def _other_kind(kind: object) -> str:
    close = get_close_matches(str(kind), (MODULE_KIND, *LIST_KINDS), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{shown(kind)} is not read here, only {', '.join((MODULE_KIND, *LIST_KINDS))}{hint}"
