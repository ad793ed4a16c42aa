"""Kubernetes objects as YAML that people read and that Go's parser reads as it is meant."""

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

# Go's YAML reads more texts as numbers than PyYAML does, 1e3 and 0o17 among them.
_NUMBER: Final = re.compile(r"[-+]?(\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+)")


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
    style = "|" if "\n" in text else "'" if _NUMBER.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
