"""Guards against Jobs that build something else than was read and asked for, let a value reach a shell or Kubernetes'
own `$(NAME)`, ask for more rights than they need, or are not replaced when what they build changes.

`golden_jobs/` has the whole Job of each builder; `make golden` writes them anew.
"""

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from builders import BUILD, SIGN, module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_jobs import DOCKERFILE, SIGNER, admit, container, jobs, missing_plan, pod, variables, words

from kmm.commands.yaml_text import to_yaml
from kmm.errors import PlanError
from kmm.jobs import Builder, JobSettings
from kmm.manifests import JobInputs, manifests
from tools.api import ApiError

GOLDEN = Path(__file__).parent / "golden_jobs"
KERNEL = "5.14.0-70.el9.x86_64"
IMAGE = f"registry.example/org/kmod:{KERNEL}"
OWN_ARGUMENTS = {
    "KERNEL_VERSION": KERNEL,
    "KERNEL_FULL_VERSION": KERNEL,
    "MOD_NAME": "kmod",
    "MOD_NAMESPACE": "default",
}
EVERYTHING = {
    "build": {
        **BUILD,
        "buildArgs": [{"name": "GREETING", "value": "it's $(HOME) & co"}, {"name": "MOD_NAME", "value": "mine"}],
        "secrets": [{"name": "token"}, {"name": "my.key"}],
        "baseImageRegistryTLS": {"insecureSkipTLSVerify": True},
        "selector": {"builder": "yes"},
    },
    "registryTLS": {"insecure": True},
}
EVERY_SETTING = {
    "image": "registry.example/builder:1",
    "resources": {"limits": {"memory": "4Gi"}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "builds", "operator": "Exists"}],
    "timeout": "90m",
    "arguments": ["--verbose"],
}


def build_job(build=None, builder="buildah", dockerfile=DOCKERFILE, settings=None, **container_fields):
    fields = {"build": BUILD | (build or {})} | container_fields
    (job,) = jobs(fields, dockerfile, {"builder": builder, "build": settings or {}})
    return job


def build_arguments(job):
    """Build arguments by name, as the builder reads them from its words."""
    text = words(job)
    if container(job)["name"] == "buildah":
        text = _recorded(text)[0]
    return dict(
        word.removeprefix("build-arg:").split("=", 1)
        for flag, word in pairwise(text)
        if flag == "--build-arg" or (flag == "--opt" and word.startswith("build-arg:"))
    )


def _recorded(command, folder=None):
    """The calls that a shell makes of the command, each a list of words."""
    recorder = 'buildah() { for word; do printf "%s\\0" "$word"; done; printf "\\0"; }\n'
    script = recorder + command[2].replace("exec buildah", "buildah")
    done = subprocess.run([*command[:2], script], capture_output=True, check=True, cwd=folder)
    assert done.stderr == b""
    # An empty word ends a call here; none of the tests below gives the builder one.
    return [call.split("\0") for call in done.stdout.decode().removesuffix("\0\0").split("\0\0")]


@pytest.mark.parametrize("builder", list(Builder))
def test_the_job_is_the_golden_one(builder, request):
    spec = {"imageRepoSecret": {"name": "pull"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    (job,) = jobs(EVERYTHING, DOCKERFILE, {"builder": builder, "build": EVERY_SETTING}, **spec)
    expected = GOLDEN / f"{builder}.yaml"
    if request.config.getoption("--update-golden"):
        expected.write_text(to_yaml([job]))
    assert yaml.safe_load(expected.read_text()) == job


@pytest.mark.engine
@pytest.mark.parametrize("builder", list(Builder))
def test_the_api_server_takes_the_job(builder, cluster, namespace):
    (job,) = jobs(EVERYTHING, DOCKERFILE, {"builder": builder, "build": EVERY_SETTING})
    body = job | {"metadata": job["metadata"] | {"namespace": namespace}}
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All&fieldValidation=Strict"
    kept = cluster.api.request("POST", path, body)
    assert kept["metadata"]["name"] == job["metadata"]["name"]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("builder", "admitted", "refused"),
    [
        ("buildah", "privileged", "baseline"),
        ("buildkit", "privileged", "baseline"),
        ("kaniko", "baseline", "restricted"),
    ],
)
def test_the_pod_security_level_of_a_builder_is_no_higher_than_the_docs_say(
    builder, admitted, refused, cluster, namespace
):
    job = build_job({"secrets": [{"name": "token"}]}, builder, registryTLS={"insecure": True})
    admit(cluster, namespace, admitted, job)
    with pytest.raises(ApiError, match="violates PodSecurity"):
        admit(cluster, namespace, refused, job)


@pytest.mark.parametrize("builder", list(Builder))
def test_own_build_arguments_win(builder):
    given = [{"name": "FLAVOUR", "value": "rt"}, {"name": "MOD_NAME", "value": "other"}]
    assert build_arguments(build_job({"buildArgs": given}, builder)) == {"FLAVOUR": "rt"} | OWN_ARGUMENTS


@pytest.mark.parametrize("builder", list(Builder))
@pytest.mark.parametrize(
    "value", ["$(STORAGE_DRIVER)", "$$", "$HOME", "`id`", "'; id; '", 'a "b" \\ c', "*", "\n", "é"], ids=repr
)
def test_a_build_argument_arrives_as_it_was_written(builder, value):
    job = build_job({"buildArgs": [{"name": "VALUE", "value": value}]}, builder)
    assert build_arguments(job)["VALUE"] == value


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_gets_past_the_quotes(tmp_path, value):
    job = build_job({"buildArgs": [{"name": "VALUE", "value": value}]}, settings={"arguments": [f"--label={value}"]})
    build, push = _recorded(words(job), tmp_path)
    assert f"VALUE={value}" in build
    assert f"--label={value}" in build
    assert push == ["push", "--tls-verify=true", IMAGE]
    assert not list(tmp_path.iterdir())


def test_buildah_builds_and_then_pushes():
    build, push = _recorded(words(build_job()))
    assert build[0] == "bud"
    assert build[-1] == "/workspace"
    assert build[build.index("--file") + 1] == "/workspace/Dockerfile"
    assert build[build.index("--tag") + 1] == push[-1] == IMAGE


def test_buildah_does_not_push_what_failed_to_build(tmp_path):
    tool = tmp_path / "buildah"
    tool.write_text('#!/bin/sh\necho "$1"\nexit 3\n')
    tool.chmod(0o755)
    done = subprocess.run(words(build_job()), env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "bud\n")


@pytest.mark.parametrize(
    ("pull", "push", "flags"),
    [
        ({}, {}, []),
        ({"insecure": True}, {}, ["--insecure-pull"]),
        ({"insecureSkipTLSVerify": True}, {}, ["--skip-tls-verify-pull"]),
        ({}, {"insecure": True}, ["--insecure"]),
        ({}, {"insecureSkipTLSVerify": True}, ["--skip-tls-verify"]),
    ],
    ids=["neither", "pull-http", "pull-any-certificate", "push-http", "push-any-certificate"],
)
def test_kaniko_trusts_what_the_module_says(pull, push, flags):
    text = words(build_job({"baseImageRegistryTLS": pull}, "kaniko", registryTLS=push))
    assert [word for word in text if "insecure" in word or "tls" in word] == flags


@pytest.mark.parametrize("option", ["insecure", "insecureSkipTLSVerify"])
@pytest.mark.parametrize(("pull", "push"), [(True, False), (False, True)], ids=["pull", "push"])
def test_buildah_verifies_pulls_and_pushes_apart(option, pull, push):
    job = build_job({"baseImageRegistryTLS": {option: pull}}, registryTLS={option: push})
    calls = [next(word for word in call if word.startswith("--tls-verify")) for call in _recorded(words(job))]
    assert calls == [f"--tls-verify={str(not relaxed).lower()}" for relaxed in (pull, push)]


def buildkit_configuration(**fields):
    job = build_job(builder="buildkit", dockerfile="FROM base.example:5000/a:1\nFROM alpine\n", **fields)
    return job["spec"]["template"]["metadata"]["annotations"].get("builder.conf")


@pytest.mark.parametrize(
    ("pull", "push", "expected"),
    [
        ({}, {}, None),
        ({}, {"insecure": True}, '[registry."registry.example"]\nhttp = true\n'),
        (
            {"insecureSkipTLSVerify": True},
            {},
            '[registry."base.example:5000"]\ninsecure = true\n[registry."docker.io"]\ninsecure = true\n',
        ),
    ],
    ids=["neither", "push", "pull"],
)
def test_buildkit_trusts_by_host(pull, push, expected):
    found = buildkit_configuration(build={"baseImageRegistryTLS": pull}, registryTLS=push)
    assert found == expected


def test_buildkit_reads_its_configuration():
    job = build_job(builder="buildkit", registryTLS={"insecure": True})
    assert variables(job)["BUILDKITD_FLAGS"].endswith("--config /run/kmm/builder.conf")
    assert "/run/kmm/builder.conf" in [mount["mountPath"] for mount in container(job)["volumeMounts"]]


@pytest.mark.parametrize("builder", list(Builder))
def test_secrets_are_folders_in_the_builder(builder):
    job = build_job({"secrets": [{"name": "token"}, {"name": "my.key"}]}, builder)
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod(job)["volumes"] if "secret" in one}
    found = {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in container(job)["volumeMounts"]
        if mount["name"] in volumes and mount["readOnly"]
    }
    assert found == {"/run/secrets/token": "token", "/run/secrets/my.key": "my.key"}


def test_buildah_mounts_secrets_in_run_steps():
    build, _ = _recorded(words(build_job({"secrets": [{"name": "token"}]})))
    assert build[build.index("--volume") + 1] == "/run/secrets/token:/run/secrets/token:ro"


def test_buildkit_mounts_secrets_in_run_steps():
    job = build_job({"secrets": [{"name": "token"}]}, "buildkit")
    dockerfile = job["spec"]["template"]["metadata"]["annotations"]["Dockerfile"]
    assert "RUN --mount=type=bind,from=kmm-secret-token,target=/run/secrets/token make" in dockerfile
    text = words(job)
    assert "kmm-secret-token=/run/secrets/token" in text
    assert "context:kmm-secret-token=local:kmm-secret-token" in text


@pytest.mark.parametrize("builder", list(Builder))
def test_the_login_is_where_the_builder_looks(builder):
    (job,) = jobs({"build": BUILD}, settings={"builder": builder}, imageRepoSecret={"name": "pull"})
    (volume,) = [one for one in pod(job)["volumes"] if "secret" in one]
    assert volume["secret"] == {"secretName": "pull", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]}
    (folder,) = [one["mountPath"] for one in container(job)["volumeMounts"] if one["name"] == volume["name"]]
    found = variables(job)
    assert folder == found.get("DOCKER_CONFIG") or f"{folder}/config.json" == found.get("REGISTRY_AUTH_FILE")
    assert pod(job)["imagePullSecrets"] == [{"name": "pull"}]


@pytest.mark.parametrize("builder", list(Builder))
def test_without_login_nothing_points_to_one(builder):
    job = build_job(builder=builder)
    assert {"DOCKER_CONFIG", "REGISTRY_AUTH_FILE"}.isdisjoint(variables(job))
    assert "imagePullSecrets" not in pod(job)


@pytest.mark.parametrize("builder", list(Builder))
def test_no_builder_is_privileged_or_reaches_the_node(builder):
    (job,) = jobs(EVERYTHING, DOCKERFILE, {"builder": builder})
    context = container(job)["securityContext"]
    assert {"privileged", "capabilities"}.isdisjoint(context)
    assert not {"hostPID", "hostNetwork", "hostIPC"} & pod(job).keys()
    assert not [one for one in pod(job)["volumes"] if "hostPath" in one]
    assert pod(job)["automountServiceAccountToken"] is False


def test_the_daemon_of_buildkit_has_time_to_start():
    """Tries come 20 ms later each time, after 100 ms at first (`buildctl-daemonless.sh`)."""
    tries = int(variables(build_job(builder="buildkit"))["BUILDCTL_CONNECT_RETRIES_MAX"])
    assert 30 < sum(0.1 + 0.02 * number for number in range(tries)) < 60


def test_buildkit_is_not_root():
    context = container(build_job(builder="buildkit"))["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (1000, 1000)


@pytest.mark.parametrize(
    ("build", "settings", "image"),
    [
        ({}, {}, "gcr.io/kaniko-project/executor:v1.24.0"),
        ({"kanikoParams": {"tag": "v1.9.0"}}, {}, "gcr.io/kaniko-project/executor:v1.9.0"),
        ({"kanikoParams": {"tag": "v2"}}, {"image": "a.example:5000/k:v1"}, "a.example:5000/k:v2"),
        ({"kanikoParams": {"tag": "v2"}}, {"image": f"a.example/k@sha256:{'0' * 64}"}, "a.example/k:v2"),
    ],
    ids=["default", "tag", "own-image-and-tag", "digest-and-tag"],
)
def test_the_tag_of_kaniko_params_wins(build, settings, image):
    assert container(build_job(build, "kaniko", settings=settings))["image"] == image


@pytest.mark.parametrize("builder", [Builder.BUILDAH, Builder.BUILDKIT])
def test_other_builders_leave_the_tag_of_kaniko_alone(builder):
    assert build_job({"kanikoParams": {"tag": "v1"}}, builder) == build_job({}, builder)


def pushed_image(job):
    """What the builder pushes, as it reads it from its words."""
    text = words(job)
    match container(job)["name"]:
        case "buildah":
            return _recorded(text)[1][-1]
        case "buildkit":
            output = text[text.index("--output") + 1]
            return dict(pair.split("=", 1) for pair in output.split(","))["name"]
        case "kaniko":
            return text[text.index("--destination") + 1]


@pytest.mark.parametrize("builder", list(Builder))
def test_what_is_built_is_what_is_then_signed(builder):
    build, sign = jobs({"build": BUILD, "sign": SIGN}, settings={"builder": builder})
    assert pushed_image(build) == variables(sign)["UNSIGNED_IMAGE"] == f"{IMAGE}-default_kmod_kmm_unsigned"
    assert variables(sign)["SIGNED_IMAGE"] == IMAGE


@pytest.mark.parametrize("builder", list(Builder))
@pytest.mark.parametrize(
    "change",
    [
        {"dockerfile": "FROM other\n"},
        {"build": {"buildArgs": [{"name": "A", "value": "1"}]}},
        {"build": {"secrets": [{"name": "token"}]}},
        {"containerImage": "registry.example/other:1"},
        {"settings": {"image": "registry.example/other:1"}},
        {"settings": {"arguments": ["--verbose"]}},
        {"settings": {"resources": {"limits": {"cpu": "1"}}}},
    ],
    ids=lambda change: "-".join(str(part) for part in (*change, *next(iter(change.values()))) if len(str(part)) > 1)[
        :40
    ],
)
def test_what_is_built_is_the_template_and_never_the_name(builder, change):
    """A template cannot be changed, so the Job is replaced; under its old name, so the old one goes first."""
    before, after = build_job(builder=builder), build_job(builder=builder, **change)
    assert before["spec"]["template"] != after["spec"]["template"]
    assert before["metadata"]["name"] == after["metadata"]["name"]


def test_jobs_of_two_kernels_and_types_have_names_of_their_own():
    names = {job["metadata"]["name"] for job in jobs({"build": BUILD, "sign": SIGN})}
    assert len(names) == 2
    assert all(re.fullmatch(r"[a-z0-9-]{1,63}", name) for name in names)


def test_a_dockerfile_that_no_job_can_hold_is_an_error():
    with pytest.raises(PlanError, match="default/dockerfile is too long: a build Job takes 256 KiB"):
        build_job(dockerfile="#" * 262_144)


def test_a_config_map_that_was_not_read_is_an_error():
    plan = missing_plan(module(container={"build": BUILD}))
    with pytest.raises(PlanError, match=r"default/kmod: kernel .* ConfigMap default/dockerfile, which was not read"):
        list(manifests(plan, JobInputs(JobSettings(), {})))


def test_an_image_that_is_only_signed_is_not_built():
    found = jobs({"sign": {**SIGN, "unsignedImage": SIGNER}})
    assert [job["metadata"]["labels"]["kmm.node.kubernetes.io/job-type"] for job in found] == ["sign"]


def test_pulumi_waits_as_long_as_the_job_may_take():
    job = build_job(settings={"timeout": "90m"})
    waits = int(job["metadata"]["annotations"]["pulumi.com/timeoutSeconds"])
    assert pod(job)["activeDeadlineSeconds"] == 5400 < job["spec"]["activeDeadlineSeconds"] < waits


def test_a_job_runs_once_and_is_tried_again_by_the_next_up():
    job = build_job()
    assert (job["spec"]["backoffLimit"], pod(job)["restartPolicy"]) == (0, "Never")
    assert job["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"
    assert "pulumi.com/waitFor" not in job["metadata"]["annotations"]
    assert "ttlSecondsAfterFinished" not in job["spec"]
