"""Kubernetes objects as YAML that people read and that Go's parser reads as it is meant."""

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

# Go's YAML reads more texts as numbers and booleans than PyYAML does, 1e3, 0O17 and y among them.
_NUMBER: Final = r"[-+]?(\.?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?|0[xob][0-9a-f_]+)"
_NO_TEXT: Final = re.compile(rf"{_NUMBER}|[yn]", re.IGNORECASE)
_LINE_END: Final = re.compile("[\x85\u2028\u2029]")  # to YAML 1.1; a plain text would have it become a space


def to_yaml(documents: Iterable[dict[str, Any]]) -> str:
    """Multi-document YAML in the order of the dictionaries, with `|` blocks and without anchors."""
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=100_000, allow_unicode=True
    )
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, _style(text))


def _style(text: str) -> str | None:
    if _LINE_END.search(text):
        return '"'
    if "\n" in text:
        return "|"
    return "'" if _NO_TEXT.fullmatch(text) else None


_Dumper.add_representer(str, _text)
