"""YAML text to plain values, with the line of each value kept beside them.

Resolves scalars as PyYAML's safe loader does, but is stricter and safe on hostile input: keys are texts and given
once, only YAML's plain types are known, depth and size (after aliases are expanded) are limited. The events of
the C parser are walked without recursion, because deep nesting would end the C stack.
Timestamps and base-60 numbers stay texts, as they do for the API server.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import yaml

from kmm.problems import FieldPath, shown

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 400_000  # per text; a Module has about 60

_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_TEXT_TAG: Final = f"{_TAG_PREFIX}str"
_MERGE_TAG: Final = f"{_TAG_PREFIX}merge"
_CONVERTED_TAGS: Final = frozenset(f"{_TAG_PREFIX}{name}" for name in ("bool", "float", "int", "null"))
_TAG_DIRECTIVE: Final = re.compile(r"^%TAG", re.MULTILINE)
_RESOLVER: Final = yaml.resolver.Resolver()
_CONSTRUCTOR: Final = yaml.constructor.SafeConstructor()


class Position(NamedTuple):
    """Line (from 1) of a value, and the positions of what is in it."""

    line: int
    children: dict[str, "Position"] | list["Position"]


class Flaw(NamedTuple):
    """Something in a text that is not acceptable YAML."""

    line: int
    path: FieldPath
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document: dictionaries, lists, texts, numbers, booleans and None."""

    value: object
    position: Position

    def line_of(self, path: FieldPath) -> int:
        """The line of what is at `path`, or of the nearest thing around it that exists."""
        position = self.position
        for part in path:
            children = position.children
            if isinstance(children, dict) and part in children:
                position = children[str(part)]
            elif isinstance(children, list) and isinstance(part, int) and part < len(children):
                position = children[part]
            else:
                break
        return position.line


def parse_documents(text: str) -> tuple[list[Document], list[Flaw]]:
    """The documents of a YAML text, and everything that is wrong with it as YAML.

    A syntax error or an exceeded limit ends the parse; documents before it are returned. In a document with
    another flaw, values that could not be read are their texts, or None.
    """
    composer = _Composer()
    if _TAG_DIRECTIVE.search(text):
        # libyaml compares each of them with all others: a file of a few MB would take minutes.
        return [], [Flaw(1, (), "%TAG directives are not supported; leave them out")]
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            composer.take(event)
    except _LimitError as error:
        composer.flaws.append(Flaw(error.line, (), str(error)))
    except yaml.YAMLError as error:
        composer.flaws.append(_syntax_flaw(error, text))
    return composer.documents, composer.flaws


class _LimitError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _syntax_flaw(error: yaml.YAMLError, text: str) -> Flaw:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.encode()[: error.position].count(b"\n") + 1
        return Flaw(line, (), f"character {error.character:#x} is not allowed in YAML")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Flaw(1, (), f"is not YAML: {error}")
    mark = error.problem_mark
    lines = text.splitlines()
    indentation = lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""
    if "\t" in indentation and indentation.isspace():
        return Flaw(mark.line + 1, (), "a tab is used for indentation; YAML allows only spaces")
    words = ": ".join(part for part in (error.context, error.problem) if part)
    return Flaw(mark.line + 1, (), f"is not YAML: {words}")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


@lru_cache(maxsize=4096)
def _plain_tag(text: str) -> str:
    return str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]


class _Composed(NamedTuple):
    """A value ready to be put where it belongs; `size` counts the values in it, aliases expanded."""

    value: object
    position: Position
    size: int = 1
    is_merge_key: bool = False


@dataclass(slots=True)
class _List:
    """A sequence whose end has not been seen."""

    line: int
    anchor: str | None
    value: list[object] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    size: int = 1

    @property
    def next_part(self) -> int:
        return len(self.value)

    def add(self, item: _Composed) -> None:
        self.size += item.size
        self.value.append(item.value)
        self.positions.append(item.position)

    def close(self) -> _Composed:
        return _Composed(self.value, Position(self.line, self.positions), self.size)


@dataclass(slots=True)
class _Mapping:
    """A mapping whose end has not been seen; keys and values come by turns."""

    line: int
    anchor: str | None
    value: dict[str, object] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    size: int = 1
    key: _Composed | None = None
    merged: list[_Composed] = field(default_factory=list)

    @property
    def next_part(self) -> str | None:
        return self.key.value if self.key and isinstance(self.key.value, str) else None

    def add(self, item: _Composed) -> Flaw | None:
        """Takes a key or a value; returns what is wrong with the pair that it completes."""
        self.size += item.size
        if self.key is None:
            self.key = item
            return None
        key, self.key = self.key, None
        line = key.position.line
        if key.is_merge_key:
            return self._merge(item, line)
        if not isinstance(key.value, str):
            return Flaw(line, (), f"a key must be text, not {shown(key.value)}; put it in quotes")
        if key.value in self.value:
            first = self.positions[key.value].line
            return Flaw(line, (key.value,), f"is given twice, first in line {first}; keep one of them")
        self.value[key.value] = item.value
        self.positions[key.value] = Position(line, item.position.children)
        return None

    def _merge(self, item: _Composed, line: int) -> Flaw | None:
        """`<<: MAPPING` or `<<: [MAPPING, ...]`."""
        positions = item.position.children
        sources = (
            [_Composed(value, position) for value, position in zip(item.value, positions, strict=True)]
            if isinstance(item.value, list) and isinstance(positions, list)
            else [item]
        )
        if not all(isinstance(source.value, dict) for source in sources):
            return Flaw(line, ("<<",), "can merge only mappings")
        self.merged += sources
        return None

    def close(self) -> _Composed:
        """Applies the merges: the mapping's own keys win, then the earlier source."""
        for source in self.merged:
            if isinstance(source.value, dict) and isinstance(source.position.children, dict):
                for key, value in source.value.items():
                    self.value.setdefault(key, value)
                    self.positions.setdefault(key, source.position.children[key])
        return _Composed(self.value, Position(self.line, self.positions), self.size)


class _Composer:
    """Builds documents from the events of the parser."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.flaws: list[Flaw] = []
        self._stack: list[_List | _Mapping] = []
        self._anchors: dict[str, _Composed] = {}
        self._size = 0

    def take(self, event: yaml.Event) -> None:
        """One step; raises _LimitError when the text is too deep or too big."""
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._stack.pop()
            self._add(closed.close(), closed.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._referenced(event))
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()

    def report(self, line: int, message: str) -> None:
        """Notes a flaw of the value that comes next."""
        self.flaws.append(Flaw(line, self._path(), message))

    def _path(self) -> FieldPath:
        """Of the value that comes next; a key has the place of its mapping."""
        return tuple(part for collection in self._stack if (part := collection.next_part) is not None)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        line = _line(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _LimitError(line, f"is nested more than {MAX_DEPTH} levels deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in {None, "!", _TAG_PREFIX + ("map" if is_mapping else "seq")}:
            self.report(line, f"tag {shown(event.tag)} is not supported; leave it out")
        collection = _Mapping if is_mapping else _List
        self._stack.append(collection(line, event.anchor))

    def _add(self, item: _Composed, anchor: str | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = item
        self._size += 1
        if not self._stack:
            self.documents.append(Document(item.value, item.position))
            return
        parent = self._stack[-1]
        if flaw := parent.add(item):
            self.flaws.append(flaw._replace(path=self._path() + flaw.path))
        if parent.size > MAX_VALUES or self._size > MAX_VALUES:
            raise _LimitError(item.position.line, f"holds more than {MAX_VALUES} values, aliases expanded")

    def _referenced(self, event: yaml.AliasEvent) -> _Composed:
        line = _line(event)
        known = self._anchors.get(event.anchor or "")
        if known is not None:
            return known._replace(position=Position(line, known.position.children))
        inside = any(collection.anchor == event.anchor for collection in self._stack)
        reason = "refers to what it is a part of" if inside else "refers to no anchor above it"
        self.report(line, f"alias *{event.anchor} {reason}")
        return _Composed(None, Position(line, []))

    def _scalar(self, event: yaml.ScalarEvent) -> _Composed:
        line = _line(event)
        position = Position(line, [])
        text: str = event.value
        tag = event.tag
        if tag is None or tag == "!":
            if not event.implicit[0]:
                return _Composed(text, position)
            tag = _plain_tag(text)
            if tag == _MERGE_TAG:
                return _Composed(text, position, is_merge_key=True)
            if tag not in _CONVERTED_TAGS or ":" in text:
                return _Composed(text, position)
        return _Composed(self._converted(tag, text, line), position)

    def _converted(self, tag: str, text: str, line: int) -> object:
        """The value of a scalar with a type; its text, and a flaw, when it has none."""
        if tag == _TEXT_TAG:
            return text
        if tag not in _CONVERTED_TAGS:
            self.report(line, f"tag {shown(tag)} is not supported; leave it out")
            return text
        try:
            value: Any = _CONSTRUCTOR.construct_object(yaml.ScalarNode(tag, text))
            str(value)  # Python writes no number of some thousand digits, as a hexadecimal one may have
        except (ValueError, KeyError, IndexError, OverflowError):
            self.report(line, f"{shown(text)} is not a value of type {tag.removeprefix(_TAG_PREFIX)}")
            return text
        return value
