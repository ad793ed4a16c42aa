"""What must be known of a Dockerfile, or changed in it, for a builder that has no flags for it. Pure.

Limits: base images are those of FROM, not those that only `COPY --from` or `RUN --mount=from` names; variables in
them are known where an ARG before the first FROM has a value.
Source: the Dockerfile reference (docs.docker.com/reference/dockerfile).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from kmm.images import ImageReference

_ESCAPE: Final = re.compile(r"(?:\s*#\s*\w+\s*=.*\n)*?\s*#\s*escape\s*=\s*(?P<character>\S)", re.IGNORECASE)
_RUN: Final = re.compile(r"\s*(?:ONBUILD\s+)?RUN\b", re.IGNORECASE)
_TAKES_HEREDOCS: Final = re.compile(r"\s*(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\b", re.IGNORECASE)
_HEREDOC: Final = re.compile(r"""(?<!\S)\d*<<(?P<dash>-?)(?P<quote>["']?)(?P<end>[^\s"'<>]+)(?P=quote)(?!\S)""")
_VARIABLE: Final = re.compile(r"\$(?:(?P<bare>\w+)|\{(?P<name>\w+)(?:(?P<rule>:?[-+])(?P<word>[^}]*))?\})", re.ASCII)


def mount_in_run_steps(dockerfile: str, mounts: Sequence[str]) -> str:
    """The Dockerfile with `--mount=` and each of `mounts` in every RUN step, those of ONBUILD too."""
    flags = "".join(f" --mount={mount}" for mount in mounts)
    lines = dockerfile.split("\n")
    for start, _ in _instructions(lines):
        if run := _RUN.match(lines[start]):
            lines[start] = f"{run[0]}{flags}{lines[start][run.end() :]}"
    return "\n".join(lines)


def base_images(dockerfile: str, build_arguments: Mapping[str, str]) -> tuple[ImageReference, ...]:
    """The images that FROM instructions name, in order, without stages of the Dockerfile's own."""
    values: dict[str, str] = {}
    bases: list[list[str]] = []
    for _, instruction in _instructions(dockerfile.split("\n")):
        keyword, *words = instruction.split()
        if keyword.upper() == "FROM":
            bases.append([_expand(word, values) for word in words if not word.startswith("--")])
        elif keyword.upper() == "ARG" and not bases:
            for word in words:
                values |= _argument(word, build_arguments, values)
    own = {"scratch", *(base[-1].lower() for base in bases if len(base) > 1)}
    images = []
    for base in bases:
        with suppress(ValueError):  # not an image: the build itself says so best
            images += [ImageReference.parse(name) for name in base[:1] if name.lower() not in own]
    return tuple(images)


def _argument(declaration: str, build_arguments: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    name, has_default, default = declaration.partition("=")
    if name in build_arguments:
        return {name: build_arguments[name]}
    return {name: _expand(default.strip("\"'"), values)} if has_default else {}


def _expand(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        known = values.get(match["bare"] or match["name"])
        rule, word = match["rule"] or "", match["word"] or ""
        is_set = bool(known) if rule.startswith(":") else known is not None
        if rule.endswith("+"):
            return word if is_set else ""
        return known or "" if is_set else word

    return _VARIABLE.sub(value, text)


def _instructions(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Index of its first line, and text without line breaks, of each instruction."""
    directive = _ESCAPE.match("\n".join(lines))
    escape = directive["character"] if directive else "\\"
    index = 0
    while index < len(lines):
        start = index
        instruction, index = _join(lines, start, escape)
        if instruction:
            yield start, instruction
            index = _skip_heredocs(lines, index, instruction)


def _join(lines: Sequence[str], start: int, escape: str) -> tuple[str, int]:
    """The instruction that begins on this line, empty for none, and the index of the line after it."""
    parts: list[str] = []
    for index in range(start, len(lines)):
        line = lines[index].rstrip()
        is_content = line and not line.lstrip().startswith("#")
        if is_content:
            parts.append(line.removesuffix(escape))
        if not parts or (is_content and not line.endswith(escape)):
            return "".join(parts), index + 1
    return "".join(parts), len(lines)


def _skip_heredocs(lines: Sequence[str], index: int, instruction: str) -> int:
    """Index of the line after the texts that the instruction takes from the lines below it."""
    heredocs = _HEREDOC.finditer(instruction) if _TAKES_HEREDOCS.match(instruction) else ()
    for heredoc in heredocs:
        for line in range(index, len(lines)):
            text = lines[line].rstrip("\r")
            if (text.lstrip("\t") if heredoc["dash"] else text) == heredoc["end"]:
                index = line + 1
                break
    return index
