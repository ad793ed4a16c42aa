"""Guards against documents whose commands do not work (any more).

Every `sh` block is run, block by block in the order of the page, in a copy of the checkout. What follows `sh` says
otherwise: `skip="why it cannot run here"`, `exit="1"` for a block that must fail, `in="demo"` for commands that a
reader types for a cluster of their own, and which run in the demo's environment here: one demo for all such pages.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt

from kmm.__main__ import app
from kmm.settings import checked_settings
from tests.checkouts import copy_checkout
from tools.bootstrap import CHECKOUT, cache_folder
from tools.environment import tool_environment

_OUTSIDE_DOCS = ("README.md", "CONTRIBUTING.md", "loader-image/README.md")
PAGES = sorted([*(CHECKOUT / page for page in _OUTSIDE_DOCS), *(CHECKOUT / "docs").rglob("*.md")])
LANGUAGES = {"sh", "yaml", "json", "text", "python"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    attributes: dict[str, str]
    text: str

    def __str__(self):
        return f"{name(self.page)}:{self.line}"


def name(page):
    return str(page.relative_to(CHECKOUT))


@cache
def blocks(page):
    return tuple(
        Block(
            page,
            token.map[0] + 1,
            token.info.partition(" ")[0] if token.type == "fence" else "indented",
            dict(word.split("=", 1) for word in shlex.split(token.info)[1:]),
            token.content,
        )
        for token in MarkdownIt().parse(page.read_text())
        if token.type in ("fence", "code_block")
    )


def commands(page, *, skipped):
    return [block for block in blocks(page) if block.language == "sh" and ("skip" in block.attributes) is skipped]


def words(text):
    """The words of each command, without variables set for it."""
    for line in text.replace("\\\n", " ").splitlines():
        found = shlex.split(line, comments=True)
        while found and re.match(r"[A-Z0-9_]+=", found[0]):
            found.pop(0)
        if found:
            yield found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is_so_that_no_command_goes_unrun(page):
    wrong = [f"{block}: {block.language}" for block in blocks(page) if block.language not in LANGUAGES]
    assert not wrong, f"write a fence with one of {sorted(LANGUAGES)}"
    unknown = [f"{block}" for block in blocks(page) if block.attributes.keys() - {"skip", "exit", "in"}]
    assert not unknown
    assert all(len(block.attributes.get("skip", "a reason")) > 5 for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_the_documents_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_stays_below_two_screens():
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 2 * 40


SKIPPED = [block for page in PAGES for block in commands(page, skipped=True)]


@pytest.mark.parametrize(
    "command", [c for block in SKIPPED for c in words(block.text) if c[0] == "make"], ids=shlex.join
)
def test_make_targets_that_are_not_run_exist(command):
    assert re.search(rf"^{command[1]}:", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "command", [c for block in SKIPPED for c in words(block.text) if c[:2] == ["docker", "build"]], ids=shlex.join
)
def test_docker_is_told_where_the_containerfile_is(command):
    """It looks for nothing but a `Dockerfile` by itself."""
    assert (CHECKOUT / command[command.index("--file") + 1]).is_file()
    assert (CHECKOUT / command[-1]).is_dir()


@pytest.fixture(scope="module")
def help_of_pulumi(tools):
    """What the help says of a subcommand; asked for once, for many of the commands are `pulumi up`."""

    @cache
    def ask(*subcommands):
        command = ["pulumi", *subcommands, "--help"]
        environment = tool_environment(tools)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    return ask


@pytest.mark.engine
@pytest.mark.parametrize(
    "command", [c for block in SKIPPED for c in words(block.text) if c[0] == "pulumi"], ids=shlex.join
)
def test_pulumi_commands_that_are_not_run_are_known_to_the_real_one(command, help_of_pulumi):
    subcommands = [word for word in command[1:3] if re.fullmatch("[a-z]+", word)]
    told = help_of_pulumi(*subcommands)
    assert re.search(rf"^  pulumi {subcommands[0]}\b", told, re.MULTILINE), told
    assert [word for word in command if word.startswith("--") and word not in told] == []


def skipped(*beginning):
    """The commands that begin so and are not run, up to a pipe."""
    found = [c for block in SKIPPED for c in words(block.text) if tuple(c[: len(beginning)]) == beginning]
    return [command[: command.index("|")] if "|" in command else command for command in found]


@pytest.mark.parametrize("command", skipped("python", "-m", "kmm"), ids=shlex.join)
def test_commands_of_our_own_that_are_not_run_are_right_usage(command):
    name = command[3]
    typer.main.get_command(app).commands[name].make_context(name, command[4:])


@pytest.mark.parametrize("command", skipped("pulumi", "config", "set"), ids=shlex.join)
def test_settings_that_are_not_set_here_are_settings_and_take_the_value(command):
    *_, path, value = command
    for step in reversed(re.findall(r"\[|\w+(?!\])", path.removeprefix("kmm:"))):
        value = [value] if step == "[" else {step: value}
    assert path.startswith("kmm:")
    checked_settings("kmm", value if value == {"source": "cluster"} else {"modules": ["modules"], **value})


@pytest.mark.engine
@pytest.mark.parametrize("command", skipped("kubectl"), ids=shlex.join)
def test_kubectl_commands_that_are_not_run_are_known_to_the_real_one(command, tools):
    own = command[: command.index("--")] if "--" in command else command
    answer = subprocess.run(
        [*own, "--help"],
        env=tool_environment(tools),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    (usage,) = re.findall(r"^  kubectl (\w+)", answer.stdout.partition("Usage:")[2], re.MULTILINE)
    assert usage in own


class Reader:
    """Somebody with an empty home, in a copy of the checkout whose `.venv` is the environment that runs the tests."""

    def __init__(self, folder):
        self.checkout = copy_checkout(folder / "checkout")
        environment = self.checkout / ".venv"
        environment.mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name != "installed":
                (environment / entry.name).symlink_to(entry)
        (environment / "installed").touch()
        self.home = folder / "home"
        self.home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PULUMI_", "KUBE"))}
        path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = kept | {"HOME": str(self.home), "KMM_CACHE": str(cache_folder()), "PATH": path}

    def run(self, *command, code=0):
        ended = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == code, f"{shlex.join(command)}\nexit {ended.returncode}\n{ended.stdout}"

    def follow(self, page):
        """Run the page's commands, in the order in which they stand."""
        for block in commands(page, skipped=False):
            print(block)
            shell = [".kmm/demo/run", "sh"] if in_demo(block) else ["sh"]
            self.run(*shell, "-euc", block.text, code=int(block.attributes.get("exit", "0")))

    def leave(self):
        self.run("make", "demo-down")
        assert list(self.home.iterdir()) == []


def in_demo(block):
    return block.attributes.get("in") == "demo"


@pytest.fixture
def reader(tools, tmp_path):
    """A reader of one page."""
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


@pytest.fixture(scope="module")
def reader_in_demo(tools, tmp_path_factory):
    """A reader of all pages that are about a stack which is there: each leaves it as it was, but the last ends it."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    reader.run("make", "demo")
    yield reader
    reader.leave()


RUN = [page for page in PAGES if commands(page, skipped=False)]
RUN_IN_DEMO = [
    *(page for page in RUN if any(in_demo(block) for block in commands(page, skipped=False))),
    CHECKOUT / "README.md",  # begins and ends a demo: another one is not needed for that
]


@pytest.mark.engine
@pytest.mark.parametrize("page", [page for page in RUN if page not in RUN_IN_DEMO], ids=name)
def test_the_commands_of_a_page_work(page, reader):
    reader.follow(page)


@pytest.mark.engine
@pytest.mark.xdist_group("pages in the demo")
@pytest.mark.parametrize("page", RUN_IN_DEMO, ids=name)
def test_the_commands_of_a_page_work_in_the_demo(page, reader_in_demo):
    reader_in_demo.follow(page)
