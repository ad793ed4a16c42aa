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


class TestJobs:
    @pytest.fixture
    def arguments(self, tmp_path):
        """A Module that is built and signed, without its image."""
        build = {"dockerfileConfigMap": {"name": "dockerfile"}}
        sign = {"certSecret": {"name": "cert"}, "keySecret": {"name": "key"}}
        modules = write_module(tmp_path, build=build, sign=sign)
        nodes = write_nodes(tmp_path, {"a": "6.1.0"})
        (tmp_path / "Dockerfile").write_text("FROM registry.example/base\n")
        (tmp_path / "Pulumi.prod.yaml").write_text("config: {'kmm:sign': {image: registry.example/signer:1}}")
        return ["render", "--modules", modules, "--nodes", nodes, "--assume-images", "missing"]

    def test_they_are_made_of_given_dockerfiles_and_a_stack_file(self, arguments, tmp_path):
        given = ["--dockerfile", f"default/dockerfile={tmp_path}/Dockerfile"]
        stack = ["--config-file", tmp_path / "Pulumi.prod.yaml", "--future-kernel", "6.2.0"]
        finished = kmm(*arguments, *given, *stack)
        assert finished.returncode == 0, finished.stderr
        jobs = [one for one in yaml.safe_load_all(finished.stdout) if one["kind"] == "Job"]
        images = [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in jobs]
        assert len(jobs) == 4
        assert images[1] == images[3] == "registry.example/signer:1"
        assert jobs[0]["spec"]["template"]["metadata"]["annotations"]["Dockerfile"] == "FROM registry.example/base\n"

    def test_a_dockerfile_that_is_not_given_is_named_with_the_option(self, arguments):
        finished = kmm(*arguments)
        assert (finished.returncode, finished.stdout) == (1, "")
        assert "add --dockerfile default/dockerfile=FILE" in finished.stderr

    @pytest.mark.parametrize(
        ("option", "exit_code", "said"),
        [
            ("default/dockerfile=missing", 1, "can't be read: "),
            ("dockerfile=Dockerfile", 2, "NAMESPACE/NAME=FILE"),
            ("default/dockerfile", 2, "NAMESPACE/NAME=FILE"),
        ],
    )
    def test_an_unusable_option_is_explained(self, arguments, option, exit_code, said):
        finished = kmm(*arguments, "--dockerfile", option)
        assert (finished.returncode, finished.stdout) == (exit_code, "")
        assert said in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--output", "json"], ["--modules", "kmod.yaml", "--dockerfile", "default/dockerfile=Dockerfile"]],
    ids=["unknown option", "Dockerfile beside a cluster"],
)
def test_wrong_usage_has_its_own_exit_code(arguments):
    finished = kmm("render", *arguments)
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
        "0X1F",
        "-0X1",
        "0B1",
        "0O17",
        "1E3",
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
    if text[-1:].isdigit() or text.startswith("0X"):
        assert "'" in written


@pytest.mark.parametrize("text", ["6.0.15-300.fc37.x86_64", "6.1.0", "kmod", "v1"])
def test_plain_texts_are_not_quoted(text):
    assert to_yaml([{"value": text}]) == f"---\nvalue: {text}\n"


@pytest.mark.parametrize("text", ["y", "Y", "n", "N"])
def test_what_older_yaml_takes_for_a_boolean_is_quoted_as_key_and_value(text):
    assert to_yaml([{text: text}]) == f"---\n'{text}': '{text}'\n"


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029"])
def test_what_older_yaml_takes_for_the_end_of_a_line_is_escaped(sign):
    document = {"value": f"a{sign}b\n"}
    written = to_yaml([document])
    assert sign not in written
    assert yaml.safe_load(written) == document


def test_lines_are_kept_as_a_block():
    assert to_yaml([{"value": "one\ntwo\n"}]) == "---\nvalue: |\n  one\n  two\n"


def test_shared_parts_are_written_out():
    shared = {"a": "b"}
    assert to_yaml([{"one": shared, "two": shared}]) == "---\none:\n  a: b\ntwo:\n  a: b\n"
