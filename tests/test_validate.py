"""Guards the command line: exit codes and streams that scripts rely on, and how fast help comes."""

import json
import subprocess
import sys

import pytest
from module_files import MINIMAL


def kmm(*arguments):
    return subprocess.run([sys.executable, "-m", "kmm", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def valid(tmp_path):
    path = tmp_path / "valid.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def suspicious(tmp_path):
    path = tmp_path / "suspicious.yaml"
    path.write_text(MINIMAL.replace("my-kmod:6.0.15-300.fc37.x86_64", "my-kmod:latest"))
    return path


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(MINIMAL.replace("selector:", "selectr:"))
    return path


def test_a_valid_file_is_said_to_be_valid(valid):
    result = kmm("validate", str(valid))
    assert (result.returncode, result.stdout, result.stderr) == (0, "valid: 1 Module, 0 warnings\n", "")


def test_warnings_go_to_stderr_and_exit_0(suspicious):
    result = kmm("validate", str(suspicious))
    assert (result.returncode, result.stdout) == (0, "valid: 1 Module, 1 warning\n")
    assert f"{suspicious}:12: spec.moduleLoader.container.kernelMappings[0].containerImage: warning: " in result.stderr


def test_errors_go_to_stderr_and_exit_1(wrong, suspicious):
    result = kmm("validate", str(wrong))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{wrong}:13: spec.selectr: is not a known key; did you mean selector?\n"


def test_json_goes_to_stdout_and_exits_alike(valid, suspicious, wrong):
    assert kmm("validate", "-o", "json", str(valid)).stdout == "[]\n"
    warned = kmm("validate", "-o", "json", str(suspicious))
    assert (warned.returncode, json.loads(warned.stdout)[0]["severity"]) == (0, "warning")
    failed = kmm("validate", "-o", "json", str(wrong))
    assert (failed.returncode, failed.stderr) == (1, "")
    assert json.loads(failed.stdout) == [
        {
            "file": str(wrong),
            "line": 13,
            "field": "spec.selectr",
            "severity": "error",
            "message": "is not a known key; did you mean selector?",
        }
    ]


@pytest.mark.parametrize(
    ("kind", "number"),
    [("float", "!!float '1" + ":1" * 200 + "'"), ("int", f"0x{'f' * 5000}")],
    ids=["float", "hexadecimal"],
)
def test_numbers_that_python_does_not_write_are_problems_of_their_line(tmp_path, kind, number):
    path = tmp_path / "number.yaml"
    path.write_text(MINIMAL.replace("  name: my-kmod", f"  name: {number}") + f"---\nkind: {number}\n")
    failed = kmm("validate", "-o", "json", str(path))
    assert (failed.returncode, failed.stderr) == (1, "")
    found = [one for one in json.loads(failed.stdout) if one["message"].endswith(f"is not a value of type {kind}")]
    assert [(one["line"], one["field"]) for one in found] == [(4, "metadata.name"), (16, "kind")]


@pytest.mark.parametrize("arguments", [["validate"], ["validate", "-o", "xml", "x"], ["vaildate"], ["--nothing"]])
def test_wrong_usage_exits_2(arguments):
    assert kmm(*arguments).returncode == 2


def test_help_has_examples(valid):
    result = kmm("validate", "--help")
    assert result.returncode == 0
    assert "python -m kmm validate stacks/dev" in result.stdout


def test_help_and_validate_import_nothing_heavy(valid):
    program = (
        "import sys; from kmm.__main__ import app; app(sys.argv[1:], standalone_mode=False);"
        "print(*(m for m in ('pulumi', 'kubernetes', 'oras', 'pydantic') if m in sys.modules))"
    )
    for arguments, imported in ((["--help"], ""), (["validate", str(valid)], "pydantic")):
        result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == imported
