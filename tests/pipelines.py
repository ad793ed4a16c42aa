"""The commands of the pipelines in `ci/`, as their platforms would run them, and a forge for their comments."""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from tools.bootstrap import CHECKOUT

FOLDER = CHECKOUT / "ci"
PLATFORMS = ("github", "gitlab", "tekton")
STAGES = ("preview", "up", "drift")


@dataclass(frozen=True)
class Command:
    """A script in one shell, with the variables that its pipeline sets; `always`: even after a failure."""

    shell: tuple[str, ...]
    script: str
    variables: Mapping[str, str]
    always: bool = False


def commands(platform, stage, values):
    """The commands of a stage in their order; `values` has what only the platform knows, by its own expressions."""
    found = {"github": _github, "gitlab": _gitlab, "tekton": _tekton}[platform](stage)
    return [
        Command(
            one.shell,
            one.script,
            {key: _filled(value, values) for key, value in one.variables.items()},
            one.always,
        )
        for one in found
    ]


def _filled(text, values):
    """`text` with the platform's `${{ … }}` and `$(…)` replaced; an unknown one is a KeyError."""
    return re.sub(r"\$\{\{ (.+?) \}\}|\$\(([\w.-]+)\)", lambda match: values[match[1] or match[2]], text)


def _github(stage):
    workflow = yaml.safe_load((FOLDER / "github-actions.yaml").read_text())
    event = {"preview": "pull_request", "up": "push", "drift": "schedule"}[stage]
    assert event in workflow[True]  # YAML 1.1 takes `on` for a truth value
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        always, condition = re.fullmatch(
            r"(always\(\) && )?(?:github\.event_name == '(\w+)')?", step.get("if", "")
        ).groups()
        if "run" in step and condition in (None, event):
            yield Command(("bash", "-e"), step["run"], workflow["env"] | step.get("env", {}), bool(always))


def _gitlab(stage):
    pipeline = yaml.safe_load((FOLDER / "gitlab-ci.yaml").read_text())
    shell, variables = ("bash", "-eo", "pipefail"), pipeline["variables"]
    before, job = pipeline["default"]["before_script"], pipeline[stage]
    yield Command(shell, "\n".join([*before, *job["script"]]), variables)
    if "after_script" in job:
        yield Command(shell, "\n".join(job["after_script"]), variables, always=True)


def _tekton(stage):
    task, *_ = yaml.safe_load_all((FOLDER / "tekton.yaml").read_text())
    template = task["spec"]["stepTemplate"]
    variables = {one["name"]: one["value"] for one in template["env"]} | {"STAGE": stage}
    for step in task["spec"]["steps"]:
        shebang, _, script = step["script"].partition("\n")
        assert shebang == "#!/bin/sh -e"
        yield Command(("sh", "-e"), script, variables)


class Forge(ThreadingHTTPServer):
    """The comments of one merge request, as GitHub's API or GitLab's."""

    daemon_threads = True

    def __init__(self, *, github=True, status=200, path="comments"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.github, self.status, self.path = github, status, path
        self.comments, self.calls = [], []

    @property
    def api(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self):
        return f"{self.api}/{self.path}"

    def add(self, body):
        number = len(self.comments) + 1
        self.comments.append({"id": number, "body": body} | ({"url": f"{self.url}/{number}"} if self.github else {}))

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def _answer(self):
        self.server.calls.append((self.command, self.headers["Authorization"]))
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path, _, query = self.path.partition("?")
        assert path.startswith(f"/{self.server.path}")
        comments = self.server.comments
        answer = {}
        if self.command == "GET":
            size, page = map(int, re.fullmatch(r"per_page=(\d+)&page=(\d+)", query).groups())
            answer = comments[size * (page - 1) : size * page]
        elif self.command == "POST":
            self.server.add(json.loads(content)["body"])
        else:
            assert self.command == ("PATCH" if self.server.github else "PUT")
            comments[int(path.rpartition("/")[2]) - 1]["body"] = json.loads(content)["body"]
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815

    def log_message(self, *_):
        """Say nothing."""
