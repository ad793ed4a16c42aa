"""What the API server answers about objects of which this project reads little: namespaces, Secrets, Modules, rules.

`kmm.node_list` and `kmm.workload_list` are about those that it reads much of.
"""

from typing import Any, Literal

from pydantic import AliasPath, Field, ValidationError

from kmm.errors import ClusterError
from kmm.wire import Nullable, Page, Wire


class Namespace(Wire):
    """A namespace; its UID is never another's."""

    uid: str = Field(min_length=1, validation_alias=AliasPath("metadata", "uid"))


class ListVersion(Wire):
    """A list of anything: the resource version at which it was so."""

    resource_version: str = Field(min_length=1, validation_alias=AliasPath("metadata", "resourceVersion"))


class Labelled(Wire):
    """Any object's labels."""

    labels: dict[str, str] = Field(default_factory=dict, validation_alias=AliasPath("metadata", "labels"))


class DataObject(Wire):
    """A ConfigMap or Secret."""

    kind: Literal["ConfigMap", "Secret"]
    data: Nullable[dict[str, str]] = Field(default_factory=dict, repr=False)


class _ModuleList(Wire):
    kind: Literal["ModuleList"]
    items: tuple[dict[str, Any], ...]
    continue_token: Nullable[str] = Field("", validation_alias=AliasPath("metadata", "continue"))


class Rule(Wire):
    """A rule of Node Feature Discovery: the labels that it puts on nodes."""

    labels: Nullable[dict[str, str]] = Field(default_factory=dict)


class _NodeFeatureRule(Wire):
    rules: Nullable[tuple[Rule, ...]] = Field((), validation_alias=AliasPath("spec", "rules"))


class _NodeFeatureRuleList(Wire):
    kind: Literal["NodeFeatureRuleList"]
    items: tuple[_NodeFeatureRule, ...]
    continue_token: Nullable[str] = Field("", validation_alias=AliasPath("metadata", "continue"))


def parse_rules(body: bytes) -> Page[Rule]:
    """One page of a list of NodeFeatureRules. Raises ClusterError if it is not that."""
    try:
        page = _NodeFeatureRuleList.model_validate_json(body)
    except ValidationError as error:
        raise ClusterError(f"the answer is no NodeFeatureRuleList: {error.errors()[0]['msg']}") from None
    return Page(tuple(rule for one in page.items for rule in one.rules), page.continue_token)


def parse_modules(body: bytes) -> Page[dict[str, Any]]:
    """One page of a list of Modules, as they are. Raises ClusterError if it is not that."""
    try:
        page = _ModuleList.model_validate_json(body)
    except ValidationError as error:
        raise ClusterError(f"the answer is no ModuleList: {error.errors()[0]['msg']}") from None
    return Page(page.items, page.continue_token)
