"""Guards against rendered objects that differ from those declared, or that kubectl reads in another way."""

import pytest
import yaml
from commands import GOLDEN, SPECIFICATION, kmm, write_module, write_nodes

from kmm.commands.yaml_text import to_yaml


def test_the_objects_of_the_plan_are_printed():
    finished = kmm("render", *SPECIFICATION)
    assert finished.returncode == 0
    assert finished.stdout == (GOLDEN / "specification" / "expected.yaml").read_text()
    assert "warning: " in finished.stderr


def test_each_document_begins_with_api_version_and_kind():
    documents = kmm("render", *SPECIFICATION).stdout.split("---\n")[1:]
    assert len(documents) == 5
    for document in documents:
        assert [line.partition(":")[0] for line in document.splitlines()[:2]] == ["apiVersion", "kind"]


def test_a_plan_without_nodes_is_still_valid_yaml(tmp_path):
    finished = kmm("render", "--modules", write_module(tmp_path), "--nodes", write_nodes(tmp_path, {}))
    assert finished.returncode == 0
    assert [document["kind"] for document in yaml.safe_load_all(finished.stdout)] == ["ServiceAccount"]


def test_problems_leave_standard_output_empty(tmp_path):
    finished = kmm("render", "--modules", tmp_path / "missing.yaml", "--nodes", write_nodes(tmp_path, {}))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "missing.yaml" in finished.stderr


def test_wrong_usage_has_its_own_exit_code():
    finished = kmm("render", "--output", "json")
    assert (finished.returncode, finished.stdout) == (2, "")


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "0o17",
        "0x1f",
        "1_000",
        "1.5",
        "-1",
        ".5",
        "6.1",
        "yes",
        "null",
        "~",
        "",
        "2026-01-01",
        " a ",
        "a: b",
        "#",
        "é",
    ],
)
def test_a_text_stays_a_text_in_gos_yaml_too(text):
    document = {"value": text}
    written = to_yaml([document])
    assert yaml.safe_load(written) == document
    if text[-1:].isdigit():
        assert "'" in written


@pytest.mark.parametrize("text", ["6.0.15-300.fc37.x86_64", "6.1.0", "kmod", "v1"])
def test_plain_texts_are_not_quoted(text):
    assert to_yaml([{"value": text}]) == f"---\nvalue: {text}\n"


def test_lines_are_kept_as_a_block():
    assert to_yaml([{"value": "one\ntwo\n"}]) == "---\nvalue: |\n  one\n  two\n"


def test_shared_parts_are_written_out():
    shared = {"a": "b"}
    assert to_yaml([{"one": shared, "two": shared}]) == "---\none:\n  a: b\ntwo:\n  a: b\n"
