"""Nodes from a file that `kubectl get nodes -o json|yaml` wrote, for planning without a cluster."""

from pathlib import Path

from pydantic_core import from_json

from kmm.documents import parse_documents
from kmm.errors import ClusterError, SettingsError
from kmm.node_list import parse_nodes, sorted_nodes
from kmm.nodes import Node

_HINT = "give it what `kubectl get nodes -o json` prints"


def load_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes in `path`, JSON or YAML with one or more documents, sorted by name.

    Raises SettingsError that names the file, and the node where there is one.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
        return sorted_nodes(node for document in _documents(text) for node in parse_nodes(document))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"nodes file {path} can't be read: {error}; {_HINT}") from None
    except ClusterError as error:
        raise SettingsError(f"nodes file {path}: {error}; {_HINT}") from None


def _documents(text: str) -> list[object]:
    """JSON is tried first: it has no limit of size, and it is what large clusters are written in."""
    try:
        return [from_json(text)]
    except ValueError:
        documents, flaws = parse_documents(text)
    if flaws:
        raise ClusterError("; ".join(f"line {flaw.line}: {flaw.message}" for flaw in flaws))
    filled = [document.value for document in documents if document.value is not None]
    if not filled:
        raise ClusterError("it is empty")
    return filled
