"""Text formats of names, keys and images: plain `str -> str` checks, wrapped once as annotated types.

Each check returns its argument or raises ValueError with what was given and what is allowed.
Source: Kubernetes' rules for object names (RFC 1123), labels and environment variables.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Protocol

import re2
from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from kmm.images import ImageReference
from kmm.kernel import VARIABLES, expand, referenced_variables
from kmm.problems import shown

_LONGEST_TEXT: Final = 4096  # the kernel's PATH_MAX; image references are far shorter
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_MODULE_FILES: Final = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")  # suffixes
_QUALIFIED_NAME: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A check of texts, which also tells JSON Schema its pattern; an annotation besides the AfterValidator.

    `pattern` means the same to Python (ASCII), RE2 and ECMAScript.
    """

    pattern: str
    longest: int
    description: str

    def __call__(self, text: str) -> str:
        """`text` when it has this format."""
        if len(text) > self.longest:
            raise ValueError(f"{shown(text)} has {len(text)} characters, at most {self.longest} are allowed")
        if not _compiled(self.pattern).fullmatch(text):
            raise ValueError(f"{shown(text)} is not {self.description}")
        return text

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Pydantic's hook for annotations."""
        return handler(schema) | {"pattern": f"^({self.pattern})$", "maxLength": self.longest}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


check_dns_label = TextFormat(
    _DNS_LABEL, 63, "a DNS label: lower-case letters, digits and '-', a letter or digit at both ends"
)
check_object_name = TextFormat(
    rf"{_DNS_LABEL}(\.{_DNS_LABEL})*",
    253,
    "an object name: lower-case letters, digits, '-' and '.', a letter or digit at both ends of each part",
)
check_label_value = TextFormat(
    rf"{_QUALIFIED_NAME}?",
    63,
    "a label value: letters, digits, '-', '_' and '.', a letter or digit at both ends",
)
check_environment_name = TextFormat(r"[ -<>-~]+", 1024, "a variable name: printable ASCII characters without '='")
_check_module_name = TextFormat(
    r"[A-Za-z0-9_][-\w.+]*",
    55,  # the kernel's MODULE_NAME_LEN on 64-bit machines, less the final NUL
    "a kernel module's name: letters, digits, '_', '-', '.' and '+', without path or '.ko'",
)
check_tag = TextFormat(r"\w[-\w.]*", 128, "an image tag: letters, digits, '_', '-' and '.'")
check_quantity = TextFormat(
    r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?",
    64,
    "a quantity such as 500m, 2, 1.5 or 128Mi",
)
_check_label_name = TextFormat(
    _QUALIFIED_NAME, 63, "a label name: letters, digits, '-', '_' and '.', a letter or digit at both ends"
)


def check_label_key(text: str) -> str:
    """`text` when it is a label key, `NAME` or `PREFIX/NAME` with a DNS subdomain as prefix."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        check_object_name(prefix)
    _check_label_name(name)
    return text


def check_annotation_key(text: str) -> str:
    """`text` when it is the key of an annotation: in lower case, in which the API server looks at it, a label key."""
    check_label_key(text.lower())
    return text


def check_kernel_module_name(text: str) -> str:
    """`text` when it is a kernel module's name, as `lsmod` prints it."""
    _check_module_name(text)
    for suffix in _MODULE_FILES:
        if text.endswith(suffix):
            name = shown(text.removesuffix(suffix))
            raise ValueError(f"{shown(text)} is the name of a file; write {name}, without path or {suffix!r}")
    return text


def _check_length(text: str) -> None:
    # Looking for variables takes time that grows with the square of the length.
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"{shown(text)} has {len(text)} characters, at most {_LONGEST_TEXT} are allowed")


def check_template(text: str) -> str:
    """`text` when every `$NAME` and `${NAME}` in it is one that a kernel mapping may use."""
    _check_length(text)
    unknown = sorted(set(referenced_variables(text)) - set(VARIABLES))
    if unknown:
        names = ", ".join(f"${{{name}}}" for name in unknown)
        raise ValueError(f"{names} is not a known variable; known are {', '.join(VARIABLES)}")
    return text


def check_image(text: str) -> str:
    """`text` when it is an image reference, `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`."""
    try:
        ImageReference.parse(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not an image reference: {error}") from error
    return text


def check_image_template(text: str) -> str:
    """`text` when it is an image reference once its variables have values."""
    check_image(expand(check_template(text), dict.fromkeys(VARIABLES, "0")))
    return text


class CompiledRegexp(Protocol):
    """What is used of RE2's compiled expressions (the package has no type hints)."""

    def search(self, text: str) -> object | None:
        """A match anywhere in `text`, as a kernel mapping's regexp is meant."""


def compile_regexp(text: str) -> CompiledRegexp:
    """The compiled RE2 expression; Go's regexp package, which the operator uses, has the same syntax.

    Raises ValueError with RE2's message.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled: CompiledRegexp = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0].decode()
        raise ValueError(f"{shown(text)} is not a regular expression (RE2 syntax): {reason}") from error
    return compiled


def check_regexp(text: str) -> str:
    """`text` when it is an RE2 expression."""
    _check_length(text)
    compile_regexp(text)
    return text


def _whole_number_as_text(given: object) -> object:
    """Kubernetes' int-or-string; a union of types would report an error for each of them."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


DnsLabel = Annotated[str, AfterValidator(check_dns_label), check_dns_label]
ObjectName = Annotated[str, AfterValidator(check_object_name), check_object_name]
LabelKey = Annotated[str, AfterValidator(check_label_key)]
AnnotationKey = Annotated[str, AfterValidator(check_annotation_key)]
LabelValue = Annotated[str, AfterValidator(check_label_value), check_label_value]
Labels = Mapping[LabelKey, LabelValue]
EnvironmentName = Annotated[str, AfterValidator(check_environment_name), check_environment_name]
KernelModuleName = Annotated[str, AfterValidator(check_kernel_module_name), _check_module_name]
Image = Annotated[str, AfterValidator(check_image)]
ImageTemplate = Annotated[str, AfterValidator(check_image_template)]
Template = Annotated[str, AfterValidator(check_template)]
Tag = Annotated[str, AfterValidator(check_tag), check_tag]
Quantity = Annotated[
    str,
    BeforeValidator(_whole_number_as_text),
    AfterValidator(check_quantity),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": f"^({check_quantity.pattern})$"}),
]
Regexp = Annotated[str, AfterValidator(check_regexp)]
