"""Lists of nodes, as the API server and `kubectl get nodes` write them, to values of `kmm.nodes`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AliasPath, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from kmm.errors import ClusterError
from kmm.names import KERNEL_LABEL, NODE_PREFIX
from kmm.nodes import Node, Taint
from kmm.wire import Nullable, Page, Wire

_SHOWN: Final = 20  # names or problems listed in one message


class _Taint(Wire):
    key: str
    value: str = ""
    effect: str


class _Applied(Wire):
    operation: Literal["Apply"]
    manager: str = ""
    labels: dict[str, Any] = Field({}, validation_alias=AliasPath("fieldsV1", "f:metadata", "f:labels"))


class _Updated(Wire):
    """Its field set, the kubelet's, is the largest part of a Node and of no use."""

    operation: Literal["Update"]


class _Metadata(Wire):
    name: str = Field(min_length=1)
    uid: str = ""
    labels: Nullable[dict[str, str]] = Field(default_factory=dict)
    managed_fields: Nullable[tuple[Annotated[_Applied | _Updated, Field(discriminator="operation")], ...]] = ()


class _Node(Wire):
    kind: Literal["Node"] = "Node"  # items of a NodeList carry none
    metadata: _Metadata
    taints: Nullable[tuple[_Taint, ...]] = Field((), validation_alias=AliasPath("spec", "taints"))
    unschedulable: bool = Field(False, validation_alias=AliasPath("spec", "unschedulable"))
    kernel_version: str = Field("", validation_alias=AliasPath("status", "nodeInfo", "kernelVersion"))


class _NodeList(Wire):
    kind: Literal["NodeList", "List"]
    items: tuple[_Node, ...] | None  # required: an answer without it is no empty list
    continue_token: Nullable[str] = Field("", validation_alias=AliasPath("metadata", "continue"))


_Document = Annotated[_NodeList | _Node, Field(discriminator="kind")]
_DOCUMENT: Final[TypeAdapter[_NodeList | _Node]] = TypeAdapter(_Document)


def parse_page(body: bytes) -> Page[Node]:
    """One page of `GET /api/v1/nodes`. Raises ClusterError if it is not that."""
    document = _validated(body)
    if isinstance(document, _Node):
        raise ClusterError("a single Node instead of a NodeList")
    return Page(tuple(map(_node, document.items or ())), document.continue_token)


def parse_nodes(document: object) -> tuple[Node, ...]:
    """The nodes of a `NodeList`, a `List` of nodes or a single `Node`, sorted by name.

    `document` is JSON as bytes, or what a JSON or YAML parser made of one document.
    Raises ClusterError that names what is not a Node, and as `sorted_nodes` does.
    """
    found = _validated(document)
    return sorted_nodes(map(_node, (found,) if isinstance(found, _Node) else found.items or ()))


def sorted_nodes(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """`nodes` by name.

    Raises ClusterError if a name comes twice, or if a node that modules are loaded on reports no kernel version: to
    plan without it would unload them.
    """
    ordered = tuple(sorted(nodes, key=lambda node: node.name))
    counts = Counter(node.name for node in ordered)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ClusterError(f"listed more than once: {_listing(twice)}")
    if bare := [node.name for node in ordered if not node.kernel_version and KERNEL_LABEL in node.labels]:
        raise ClusterError(
            f"no status.nodeInfo.kernelVersion on {_listing(bare)}: the kubelet there has not reported yet "
            "(wait for it), or no machine is behind the Node (delete it)"
        )
    return ordered


def _validated(document: object) -> _NodeList | _Node:
    try:
        if isinstance(document, bytes):
            return _DOCUMENT.validate_json(document)
        return _DOCUMENT.validate_python(document)
    except ValidationError as error:
        raise ClusterError(_explained(error, document)) from None


def _node(wire: _Node) -> Node:
    return Node(
        name=wire.metadata.name,
        uid=wire.metadata.uid,
        labels=wire.metadata.labels,
        taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in wire.taints),
        unschedulable=wire.unschedulable,
        kernel_version=wire.kernel_version,
        label_owners=_label_owners(wire.metadata.managed_fields),
    )


def _label_owners(entries: Iterable[_Applied | _Updated]) -> Mapping[str, frozenset[str]]:
    owners: dict[str, frozenset[str]] = {}
    for entry in entries:
        if isinstance(entry, _Applied):
            for key in _project_keys(entry.labels):
                owners[key] = owners.get(key, frozenset()) | {entry.manager}
    return owners


def _project_keys(label_fields: Iterable[str]) -> Iterator[str]:
    """This project's label keys in a `fieldsV1` set, where a key is written `f:<key>`."""
    return (name[2:] for name in label_fields if name.startswith(f"f:{NODE_PREFIX}"))


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{'nodes' if len(names) > 1 else 'node'} {', '.join(names[:_SHOWN])}{more}"


def _explained(error: ValidationError, document: object) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return f"not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}"
    parsed = from_json(document) if isinstance(document, bytes) else document
    if not problems[0]["loc"]:
        return f"expected a NodeList, a List of nodes or a Node, got {_kind(parsed)}"
    lines = [f"  {_place(problem['loc'][1:], parsed)}: {_words(problem)}" for problem in problems[:_SHOWN]]
    hidden = len(problems) - _SHOWN
    return "\n".join(["not nodes:", *lines, *([f"  and {hidden} more"] if hidden > 0 else [])])


def _kind(document: object) -> str:
    match document:
        case {"kind": kind}:
            return f"kind {kind!r}"
        case {}:
            return "an object without kind"
        case _:
            return type(document).__name__


def _place(location: tuple[int | str, ...], document: object) -> str:
    """`location` without the union's tag as a path, with the node's name where it has one."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    match (location, document):
        case (("items", int(index), *_), {"items": [*items]}):
            document = items[index]
    match document:
        case {"metadata": {"name": str(name)}}:
            return f"{path} (node {name})"
        case _:
            return path


def _words(problem: ErrorDetails) -> str:
    """pydantic's words, without the names of our classes."""
    return "Input should be a mapping" if problem["type"] == "model_type" else problem["msg"]
