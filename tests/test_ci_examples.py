"""Guards against pipelines that differ in what they do, and against comments that pile up or get lost."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.pipelines import FOLDER, PLATFORMS, STAGES, Forge, commands
from tools.bootstrap import CHECKOUT, PINS

FILES = sorted(FOLDER.glob("*.yaml"))


class Values(dict):
    """Takes whatever a platform may be asked for."""

    def __missing__(self, key):
        return f"<{key}>"


@pytest.mark.parametrize("stage", STAGES)
def test_each_platform_runs_the_same_pulumi_command(stage):
    scripts = {platform: "\n".join(one.script for one in commands(platform, stage, Values())) for platform in PLATFORMS}
    wanted = {
        "preview": 'ci/preview "$MODULES"',
        "up": "pulumi up --yes --non-interactive --suppress-progress",
        "drift": "pulumi preview --refresh --expect-no-changes --non-interactive --suppress-progress",
    }[stage]
    assert all(wanted in script for script in scripts.values())


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("stage", STAGES)
def test_garbage_is_collected_even_after_a_failure(platform, stage):
    for command in commands(platform, stage, Values()):
        assert command.variables["PULUMI_CONTINUE_ON_ERROR"] == "true"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_images_are_those_that_the_project_is_tested_with(file):
    images = re.findall(r"pulumi/[\w.-]+:([\d.]+)", file.read_text())
    assert set(images) == {PINS["pulumi"]["version"]}


def test_the_nightly_run_of_tekton_asks_for_what_the_pipeline_offers():
    task, pipeline, cron, config = yaml.safe_load_all((FOLDER / "tekton.yaml").read_text())
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    folder, _, name = container["command"][-1].rpartition("/")
    assert folder == mount["mountPath"]
    run = yaml.safe_load(config["data"][name])["spec"]
    assert run["pipelineRef"]["name"] == pipeline["metadata"]["name"]
    required = {one["name"] for one in pipeline["spec"]["params"] if "default" not in one}
    assert {one["name"] for one in run["params"]} >= required
    workspaces = {one["name"] for one in pipeline["spec"]["workspaces"]}
    assert {one["name"] for one in run["workspaces"]} == workspaces
    assert {one["name"] for one in task["spec"]["workspaces"]} == workspaces


def comment(url, body):
    return subprocess.run(
        [sys.executable, CHECKOUT / "ci/comment.py", url],
        input=body,
        env={"COMMENT_TOKEN": "secret"},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("github", [True, False], ids=["github", "gitlab"])
def test_a_stack_has_one_comment_however_often_it_is_previewed(github):
    with Forge(github=github) as forge:
        for number in range(150):
            forge.add(f"chat {number}")
        for body in (b"### stack a\nold", b"### stack b\n", b"### stack a\nnew \xe2\x9c"):
            assert comment(forge.url, body).returncode == 0
        assert [one["body"] for one in forge.comments[150:]] == ["### stack a\nnew \ufffd", "### stack b\n"]
        assert {token for _, token in forge.calls} == {"Bearer secret"}


def test_a_refused_comment_says_what_the_forge_said():
    with Forge(status=403) as forge:
        ended = comment(forge.url, b"### stack a\n")
    assert ended.returncode == 1
    assert f"{forge.url}?per_page=100&page=1: 403".encode() in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_without_a_token_nothing_is_tried():
    ended = subprocess.run(
        [sys.executable, CHECKOUT / "ci/comment.py", "url"], env={}, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr[:6]) == (2, b"usage:")


def test_a_forge_that_does_not_answer_is_named():
    ended = comment("http://127.0.0.1:9/comments", b"### stack a\n")
    assert ended.returncode == 1
    assert b"http://127.0.0.1:9/comments: " in ended.stderr
    assert b"Traceback" not in ended.stderr
