"""Guards against help that is slow, coloured where nobody sees it, or whose examples do not work."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml
from commands import SPECIFICATION, kmm
from terminal import Terminal
from typer.testing import CliRunner

from kmm.__main__ import app

REPOSITORY = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
EXAMPLES = [
    pytest.param(name, example, id=example)
    for name, command in COMMANDS.items()
    for example in re.findall(rf"python -m kmm {name}(?: [^|>\n]*)?", command.help)
]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_exit_codes(name):
    done = kmm(name, "--help", COLUMNS="200")
    assert done.returncode == 0
    assert "Examples:\n\n" in done.stdout
    assert done.stdout.count("python -m kmm") >= 2
    assert "\n  Exit codes: 0 success, 1 failure" in done.stdout


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_right_usage_and_can_be_copied_from_any_terminal(name, example):
    arguments = shlex.split(example)[4:]
    COMMANDS[name].make_context(name, arguments)
    assert example in CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "60"}).stdout


def test_all_commands_are_listed():
    listed = kmm("--help").stdout
    assert all(re.search(rf"^  {name} +\w", listed, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["plann"], "No such command 'plann'", id="command"),
        pytest.param(["plan", "--module", "x"], "No such option: --module", id="option"),
        pytest.param(["plan", "-o", "xml", "--modules", "x"], "'xml' is not one of", id="choice"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_allowed(arguments, message):
    done = kmm(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_full_disk_is_no_traceback():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kmm", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.strip() == "[Errno 28] No space left on device"


def on_terminal(*arguments, **environment):
    """What the command prints on a terminal."""
    with Terminal(*arguments, columns=200, **environment) as terminal:
        assert terminal.end() == 0, terminal.text
        return terminal.text


def test_colours_are_for_terminals_only_and_not_with_no_color():
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    assert "\x1b" not in kmm("plan", *SPECIFICATION).stdout
    nodes = ["--nodes", REPOSITORY / "stacks/dev-nodes.yaml", "--modules", REPOSITORY / "stacks/dev"]
    arguments = ["plan", *nodes, "--assume-images", "present"]
    assert colour.search(on_terminal(*arguments))
    assert not colour.search(on_terminal(*arguments, NO_COLOR="1"))


@pytest.mark.parametrize("option", ["--output=table", "--watch"])
def test_ctrl_c_ends_a_command_at_once_although_the_cluster_does_not_answer(tmp_path, option):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = {"name": "a", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}
        context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump({"clusters": [entry], "contexts": [context], "current-context": "a"}))
        with Terminal("status", option, "--kubeconfig", kubeconfig) as terminal, silent.accept()[0], silent.accept()[0]:
            time.sleep(0.5)  # so that it waits for answers
            terminal.type("\x03")
            assert terminal.end(20) == 130
            assert "Traceback" not in terminal.text


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs the command that `pip install .` gives. Without network: what the build needs is there already."""
    folder = tmp_path_factory.mktemp("package")
    source, target = folder / "source", folder / "installed"
    shutil.copytree(REPOSITORY / "kmm", source / "kmm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--no-deps", "--target", target, source], check=True)

    def run(*arguments, **environment):
        return subprocess.run(
            [target / "bin" / "kmm", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(target)} | environment,
            cwd=folder,
        )

    return run


def test_the_installed_command_finds_all_of_the_package(installed):
    done = installed("plan", *SPECIFICATION, "-o", "html")
    assert done.returncode == 0, done.stderr
    assert "prefers-color-scheme" in done.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [("kmm pre", "preflight"), ("kmm plan --no", "--nodes"), ("kmm plan -o h", "html")],
    ids=["command", "option", "choice"],
)
def test_the_shell_completes_the_installed_command(installed, words, completed):
    done = installed(_KMM_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert done.stdout.split() == [completed]


def test_completion_is_offered_where_it_works(installed):
    assert "--install-completion" in installed("--help").stdout
    assert "--show-completion" not in kmm("--help").stdout
