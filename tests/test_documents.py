"""Guards reading YAML: hostile text that crashes or stalls, values that differ from what Kubernetes would read,
positions that point to the wrong line."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from module_files import FULL, MINIMAL

from kmm.documents import MAX_DEPTH, MAX_VALUES, parse_documents


def value(text):
    documents, flaws = parse_documents(text)
    assert flaws == []
    assert len(documents) == 1
    return documents[0].value


def only_flaw(text):
    _, flaws = parse_documents(text)
    assert len(flaws) == 1
    return flaws[0]


def laughs():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
def test_module_files_are_read_as_the_safe_loader_reads_them(text):
    assert value(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("12", 12),
        ("0x10", 16),
        ("1.5", 1.5),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("=", "="),
        ("|\n  a\n  b\n", "a\nb\n"),
        ('{"a": ["b", 1, null, true]}', {"a": ["b", 1, None, True]}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
)
def test_scalars_are_resolved_as_kubernetes_does(text, expected):
    assert value(text) == expected


def test_merge_keys_give_way_to_the_mappings_own_keys():
    text = "x: &x {a: 1, b: 1}\ny: &y {a: 2, c: 2}\nz: {b: 3, <<: [*x, *y]}"
    assert value(text)["z"] == {"a": 1, "b": 3, "c": 2}


def test_aliases_are_expanded():
    assert value("a: &a [1]\nb: *a") == {"a": [1], "b": [1]}


def test_documents_are_told_apart():
    documents, _ = parse_documents("a: 1\n---\nb: 2\n")
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].line_of(("b",)) == 3


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("a",), 1),
        (("a", "b"), 2),
        (("a", "b", 1), 4),
        (("a", "b", 1, "c"), 4),
        (("a", "z"), 1),
        (("q", 3), 1),
    ],
)
def test_a_path_leads_to_the_line_of_its_key_or_of_what_is_around_it(path, line):
    documents, _ = parse_documents("a:\n  b:\n    - 1\n    - c: 2\n")
    assert documents[0].line_of(path) == line


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("a: 1\nb: {c: 1,\n c: 2}", 3, ("b", "c"), "given twice, first in line 2"),
        ("a:\n\tb: 1", 2, (), "a tab is used for indentation"),
        ("a: [1\nb: 2", 2, (), "is not YAML"),
        ("a: !!python/object/apply:os.system [id]", 1, ("a",), "is not supported"),
        ("a: !!python/name:os.system ''", 1, ("a",), "is not supported"),
        ("a: !!binary aGk=", 1, ("a",), "is not supported"),
        ("- !!set {a}", 1, (0,), "is not supported"),
        ("!custom {}", 1, (), "is not supported"),
        ("a: !!int x", 1, ("a",), "is not a value of type int"),
        (f"a: {'9' * 5000}", 1, ("a",), "is not a value of type int"),
        ("a: !!float '1" + ":1" * 200 + "'", 1, ("a",), "is not a value of type float"),
        (f"a: 0x{'f' * 5000}", 1, ("a",), "is not a value of type int"),
        (f"? 0x{'f' * 5000}\n: a", 1, (), "is not a value of type int"),
        ("a:\n  !!int x: b", 2, ("a",), "is not a value of type int"),
        ("1: a", 1, (), "a key must be text, not 1"),
        ("on: a", 1, (), "a key must be text, not true"),
        ("? [a]\n: b", 1, (), "a key must be text, not a list"),
        ("a: &a [*a]", 1, ("a", 0), "a part of"),
        ("a: *b", 1, ("a",), "no anchor above it"),
        ("a: {<<: 1}", 1, ("a", "<<"), "only mappings"),
        ("a: b\nc: \0", 2, (), "0x0 is not allowed"),
        ("%TAG ! tag:x,2000:\n---\na: 1", 1, (), "%TAG"),
        ("[" * 100_000, 1, (), f"more than {MAX_DEPTH} levels"),
        ("{a: " * 100_000, 1, (), f"more than {MAX_DEPTH} levels"),
        ("- " * 100_000, 1, (), f"more than {MAX_DEPTH} levels"),
        (laughs(), 6, (), f"more than {MAX_VALUES} values"),
        (f"[{'1,' * (MAX_VALUES + 1)}]", 1, (), f"more than {MAX_VALUES} values"),
    ],
    ids=lambda given: given[:30] if isinstance(given, str) else None,
)
def test_bad_text_is_one_flaw_at_its_line(text, line, path, message):
    flaw = only_flaw(text)
    assert (flaw.line, flaw.path) == (line, path)
    assert message in flaw.message


def test_documents_before_a_syntax_error_are_kept():
    documents, flaws = parse_documents("a: 1\n---\nb: [\n")
    assert [document.value for document in documents] == [{"a": 1}]
    assert len(flaws) == 1


@pytest.mark.parametrize(
    "text",
    [
        "%TAG !a! tag:x\n" * 200_000,
        "e: &e {}\n" + "".join(f"k{n}: 1\n" for n in range(100_000)) + f"<<: [{', '.join(['*e'] * 100_000)}]\n",
        "- &a x\n" * 200_000,
        "'" * 3_000_000,
        "\n" * 3_000_000,
        "a:" * 1_000_000,
    ],
    ids=["directives", "merges", "anchors", "quotes", "empty lines", "colons"],
)
def test_megabytes_of_anything_end_in_seconds(text):
    start = time.process_time()
    parse_documents(text)
    assert time.process_time() - start < 10


@given(st.text())
def test_no_text_raises(text):
    parse_documents(text)


@given(st.text(alphabet="ab:-[]{}&*!<>|?%@`'\",# \n\t0"))
def test_no_text_of_yaml_signs_raises(text):
    parse_documents(text)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Z"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(plain_values)
def test_what_was_dumped_is_read_back(given_value):
    assert value(yaml.safe_dump(given_value, allow_unicode=True)) == given_value
