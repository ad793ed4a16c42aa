"""Shapes of the Kubernetes types inside a Module (core/v1). Their values are passed through exactly as given.

Only the shape is checked: keys, types, required fields, closed word lists. The API server judges the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from kmm.definition.formats import DnsLabel, EnvironmentName, LabelKey, LabelValue, ObjectName, Quantity
from kmm.definition.model import Definition, Sequence, field_error

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True)
class Shaped:
    """Annotation of a wire-form value: checked as `model`, kept as it was given."""

    model: type[BaseModel]

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's hook for annotations."""
        return core_schema.no_info_wrap_validator_function(
            _checked, handler.generate_schema(self.model), serialization=_AS_IT_IS
        )


_AS_IT_IS: Final = core_schema.plain_serializer_function_ser_schema(lambda value: value)


def _checked(value: object, check: ValidatorFunctionWrapHandler) -> object:
    check(value)
    return value


class LocalObjectReference(Definition):
    """A Secret or ConfigMap in the Module's namespace."""

    name: ObjectName


class Toleration(Definition):
    """A taint that nodes may have; the rules between its fields are the API server's."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise field_error("must be Exists when no key is given", self.operator, "operator")
        if self.value is not None and self.operator == "Exists":
            raise field_error("must not be given with operator Exists", self.value, "value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise field_error("needs effect NoExecute", self.toleration_seconds, "tolerationSeconds")
        return self


class OneOf(Definition):
    """A mapping of which at most (or exactly) one of some keys may be given."""

    alternatives: ClassVar[tuple[str, ...]]
    needs_one: ClassVar[bool] = False

    @model_validator(mode="after")
    def _one_alternative(self) -> Self:
        fields = type(self).model_fields
        given = [str(fields[name].alias) for name in self.alternatives if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.needs_one and not given:
            allowed = ", ".join(str(fields[name].alias) for name in self.alternatives)
            raise ValueError(f"needs one of {allowed}")
        return self


class _KeySelector(Definition):
    key: str
    name: ObjectName | None = None
    optional: bool | None = None


class FieldSelector(Definition):
    """A field of the pod."""

    field_path: str
    api_version: str | None = None


class ResourceSelector(Definition):
    """A resource limit or request of a container of the pod."""

    resource: str
    container_name: str | None = None
    divisor: Quantity | None = None


class _EnvironmentSource(OneOf):
    alternatives = ("config_map_key_ref", "field_ref", "resource_field_ref", "secret_key_ref")
    needs_one = True
    config_map_key_ref: _KeySelector | None = None
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None
    secret_key_ref: _KeySelector | None = None


class _EnvironmentVariable(OneOf):
    alternatives = ("value", "value_from")
    name: EnvironmentName
    value: str | None = None
    value_from: _EnvironmentSource | None = None


class _ResourceClaim(Definition):
    name: DnsLabel
    request: str | None = None


class _Resources(Definition):
    claims: Sequence[_ResourceClaim] = ()
    limits: Mapping[LabelKey, Quantity] = {}
    requests: Mapping[LabelKey, Quantity] = {}


class _VolumeMount(OneOf):
    alternatives = ("sub_path", "sub_path_expr")
    name: DnsLabel
    mount_path: str
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = None
    read_only: bool | None = None
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None


EnvironmentVariable = Annotated[Mapping[str, Any], Shaped(_EnvironmentVariable)]
Resources = Annotated[Mapping[str, Any], Shaped(_Resources)]
VolumeMount = Annotated[Mapping[str, Any], Shaped(_VolumeMount)]
