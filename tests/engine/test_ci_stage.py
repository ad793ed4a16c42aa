"""Guards against pipelines whose commands do not work (any more): each of them is run, in order, as its platform would.

The test is the platform: it sets the variables, and its forge takes the comments. What it does not do is to start
containers, and to check out, clone and upload.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.checkouts import copy_checkout
from tests.engine.deployment import KERNEL, NEXT_KERNEL
from tests.pipelines import PLATFORMS, Forge, commands
from tools.environment import pulumi_environment

DRIFT = 7  # exit code of `pulumi preview --expect-no-changes` when there are some


class Runner:
    """A checkout of the stack `prod`, and the platform that runs its pipeline."""

    def __init__(self, folder, tools, deployment, platform, forge):
        self.folder, self.platform, self.forge = folder / "checkout", platform, forge
        copy_checkout(self.folder)
        # The pipeline makes its environment anew in this one, and finds the right packages there already: ours.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder / ".venv"], check=True)
        (site_packages,) = (self.folder / ".venv/lib").glob("python*/site-packages")
        (site_packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
        (self.folder / "modules").symlink_to(deployment.folder)
        own = pulumi_environment(tools, folder / "pulumi")
        self.state = {name: own.pop(name) for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE")}
        self.environment = own | {
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{own['PATH']}",
            "RUNNER_TEMP": str(folder),
            "GITHUB_ENV": str(folder / "github-env"),
            "CI_API_V4_URL": forge.api,
            "CI_PROJECT_ID": "17",
            "CI_MERGE_REQUEST_IID": "4",
        }
        self.kubeconfig = deployment.cluster.kubeconfig
        if platform != "github":  # where secrets are variables of every job
            self.environment |= self.state | {"COMMENT_TOKEN": "secret"}
        if platform == "gitlab":
            self.environment["KUBECONFIG"] = str(self.kubeconfig)
        self._make_stack()
        self._installed = False

    def _make_stack(self):
        """What is done once, by hand."""
        for command in (["stack", "init", "prod"], ["config", "set", "--path", "kmm:modules[0]", "modules"]):
            subprocess.run(["pulumi", *command], cwd=self.folder, env=self.environment | self.state, check=True)
        (self.folder / "stacks/Pulumi.prod.yaml").stat()

    def run(self, stage):
        """Run a stage and return its exit code and output; a step that only installs is run once."""
        exit_code, output = 0, ""
        for command in commands(self.platform, stage, self._values(stage)):
            installs = command.script.endswith("requirements.lock\n")
            if installs and self._installed:
                continue
            self._installed |= installs
            if exit_code == 0 or command.always:
                ended = subprocess.run(
                    [*command.shell, "-c", command.script],
                    cwd=self.folder,
                    env=self._environment(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=300,
                    check=False,
                )
                exit_code, output = exit_code or ended.returncode, output + ended.stdout
        return exit_code, output

    def _environment(self, command):
        file = Path(self.environment["GITHUB_ENV"])
        lines = file.read_text().splitlines() if file.exists() else []
        return self.environment | dict(command.variables) | dict(line.split("=", 1) for line in lines)

    def _values(self, stage):
        """What the platform puts in for its expressions; nothing else is known to it."""
        if self.platform == "gitlab":
            return {}
        if self.platform == "tekton":
            mounted = self.folder.parent / "workspace"
            mounted.mkdir(exist_ok=True)
            shutil.copy(self.kubeconfig, mounted / "config")
            return {
                "workspaces.kubeconfig.path": str(mounted),
                "params.stage": stage,
                "params.comments-url": self.forge.url,
            }
        event = {"preview": "pull_request", "up": "push", "drift": "schedule"}[stage]
        secret = "github.event_name == 'push' && secrets.KUBECONFIG_UP || secrets.KUBECONFIG_PREVIEW"
        return {
            "github.event_name": event,
            "vars.PULUMI_BACKEND_URL": self.state["PULUMI_BACKEND_URL"],
            "secrets.PULUMI_ACCESS_TOKEN": "",
            "secrets.PULUMI_CONFIG_PASSPHRASE": self.state["PULUMI_CONFIG_PASSPHRASE"],
            secret: self.kubeconfig.read_text(),
            "github.event.pull_request.comments_url": self.forge.url,
            "github.token": "secret",
        }


@pytest.fixture
def runner(request, tmp_path, tools, deployment):
    """The pipeline of a platform for the stack `prod`, whose Modules are those of `deployment`."""
    deployment.write()
    with Forge(github=request.param == "github", path=PATHS[request.param]) as forge:
        yield Runner(tmp_path / "ci", tools, deployment, request.param, forge)
    shutil.rmtree(tmp_path / "ci")  # tens of megabytes, which pytest would keep


PATHS = {
    "github": "repos/team/modules/issues/4/comments",
    "gitlab": "projects/17/merge_requests/4/notes",
    "tekton": "repos/team/modules/issues/4/comments",
}


@pytest.mark.parametrize("runner", PLATFORMS, indirect=True)
def test_the_commands_of_a_pipeline_preview_deploy_and_find_drift(runner, deployment):
    deployment.nodes.add(KERNEL)
    exit_code, output = runner.run("preview")
    assert exit_code == 0, output
    assert deployment.daemon_sets() == {}
    (comment,) = runner.forge.comments
    assert comment["body"].startswith("### kmm: preview of stack prod\n")
    assert f"registry.example/kmod:{KERNEL}" in comment["body"]
    assert "DaemonSet" in comment["body"]
    plan = json.loads((runner.folder / "plan.json").read_text())
    assert [kernel["version"] for kernel in plan["modules"][0]["kernels"]] == [KERNEL]
    assert [(one["kind"], one["nodes"]) for one in plan["changes"]] == [("load", deployment.nodes.names)]
    assert json.loads((runner.folder / "preview.json").read_text())["changeSummary"]["create"] > 0
    assert "</html>" in (runner.folder / "plan.html").read_text()

    exit_code, output = runner.run("up")
    assert exit_code == 0, output
    assert deployment.daemon_sets().keys() == {("kmod", KERNEL)}

    if runner.platform == "github":  # the stages are the same elsewhere
        assert_no_drift_is_found(runner)
        assert_previews_that_fail_are_commented(runner)

    deployment.nodes.add(NEXT_KERNEL)
    exit_code, output = runner.run("drift")
    assert exit_code == DRIFT, output
    assert "error: no changes were expected" in output


def assert_no_drift_is_found(runner):
    exit_code, output = runner.run("drift")
    assert exit_code == 0, output


def assert_previews_that_fail_are_commented(runner):
    wrong = runner.folder / "modules/wrong.yaml"
    wrong.write_text("kind: Modul\n")
    exit_code, output = runner.run("preview")
    assert exit_code == 1, output
    assert "modules/wrong.yaml:1: kind: " in runner.forge.comments[0]["body"]
    wrong.unlink()

    config = runner.folder / "stacks/Pulumi.prod.yaml"
    right = config.read_text()
    settings = yaml.safe_load(right)
    settings["config"]["kmm:imageCheck"] = "maybe"
    config.write_text(yaml.safe_dump(settings))
    exit_code, output = runner.run("preview")
    assert exit_code == 1, output
    (comment,) = runner.forge.comments
    assert "**It failed.**" in comment["body"]
    assert "- error: kmm:imageCheck: Input should be" in comment["body"]
    config.write_text(right)
