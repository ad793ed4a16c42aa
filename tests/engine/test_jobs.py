"""Guards against a build or sign Job that holds back what does not need it, that is not tried again, that stays behind
when its image is there, or whose failure is not explained.
"""

import json
import shutil

import pytest
import yaml
from commands import kmm

from kmm.names import JOB_TYPE_LABEL
from tests.engine.accounts import Account
from tests.engine.built_modules import SECRET, encoded
from tests.engine.deployment import (
    KERNEL,
    NEXT_KERNEL,
    TAKE_OVER,
    UP,
    declared,
    eventually,
    finish,
    object_steps,
    read_until,
    running,
)
from tools.stack import kill


@pytest.fixture
def read_only(deployment, cluster, tmp_path):
    """A kubeconfig for an account that may read everything and write nothing."""
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    account = Account(cluster, deployment.namespace, "reader", rules)
    yield account.write_kubeconfig(tmp_path / "reader")
    account.forget()


def uids(pods):
    return {pod["metadata"]["uid"] for pod in pods}


def dockerfile(job):
    """The text that a build Job builds from."""
    return job["spec"]["template"]["metadata"]["annotations"]["Dockerfile"]


def test_a_build_holds_back_its_own_loader_alone_and_the_next_up_clears_it_away(deployment, built):
    built.write()
    deployment.write("other")
    built.push(NEXT_KERNEL)
    (waits,) = deployment.nodes.add(KERNEL)
    (goes_on,) = deployment.nodes.add(NEXT_KERNEL)
    with running(deployment.stack, *UP) as up:
        built.pod()
        eventually(
            lambda: deployment.labels(goes_on).keys() >= {deployment.ready_label(), deployment.ready_label("other")}
        )
        eventually(lambda: deployment.ready_label("other") in deployment.labels(waits))
        assert deployment.ready_label() not in deployment.labels(waits)
        assert ("kmod", KERNEL) not in deployment.daemon_sets()
        assert up.poll() is None
        built.make()
        assert "to succeed (Active: 1 | Succeeded: 0 | Failed: 0)" in finish(up)
    labels = {node: deployment.labels(node) for node in (waits, goes_on)}
    assert deployment.ready_label() in labels[waits]
    (job,) = deployment.jobs()
    assert job["metadata"]["labels"][JOB_TYPE_LABEL] == "build"
    pods = uids(deployment.pods())

    assert object_steps(deployment.stack.up().expect()) == {("delete", "Job"): 1}
    assert {node: deployment.labels(node) for node in labels} == labels
    assert uids(deployment.pods()) == pods
    assert not deployment.jobs()
    assert not [one for one in deployment.stack.state()["resources"] if "rollout/" in one["urn"]]
    deployment.stack.preview("--refresh", "--expect-no-changes").expect()


def test_a_failed_build_shows_the_end_of_its_log_and_each_up_tries_again_with_the_present_dockerfile(
    deployment, kubelet, built, log_server
):
    built.write()
    deployment.write("other")
    (node,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        failed = built.pod()
        log_server(failed, "make: *** [kmod.o] Error 1\n")
        kubelet.complete(failed, 2)
        output = finish(up, 1)
    (job,) = deployment.jobs()
    assert f"pod {deployment.namespace}/{failed['metadata']['name']} failed. The end of its log:\n" in output
    assert "make: *** [kmod.o] Error 1" in output
    assert "Traceback" not in output
    assert deployment.labels(node).keys() == {"kernel-version.full", deployment.ready_label("other")}

    with running(deployment.stack, *UP) as up:
        pod = built.pod()
        assert pod["metadata"]["ownerReferences"][0]["uid"] != job["metadata"]["uid"]
        kubelet.end(pod)  # as when its node is drained
        output = finish(up, 1)
    assert "has no pod whose log could be shown" in output

    built.set_dockerfile("FROM registry.example/better\n")
    with running(deployment.stack, *UP) as up:
        built.pod()
        (job,) = deployment.jobs()
        assert dockerfile(job) == "FROM registry.example/better\n"
        built.make()
        finish(up)
    assert deployment.ready_label() in deployment.labels(node)


def test_a_job_whose_image_is_not_there_after_it_ended_well_runs_again(deployment, kubelet, built):
    built.write()
    (node,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        ended = built.pod()
        kubelet.complete(ended)
        finish(up)
    with running(deployment.stack, *UP) as up:
        built.make()
        finish(up)
    assert object_steps(deployment.stack.up().expect()) == {("delete", "Job"): 1}

    # A registry may also lose an image, while its module runs and stays.
    shutil.rmtree(built.registry.folder / "images")
    pods = uids(deployment.pods())
    with running(deployment.stack, *UP) as up:
        kubelet.complete(built.pod(), 1)
        finish(up, 1)
    with running(deployment.stack, *UP) as up:
        built.make()
        finish(up)
    assert uids(deployment.pods()) == pods
    assert deployment.ready_label() in deployment.labels(node)


@pytest.mark.parametrize("changes", [False, True], ids=["same Dockerfile", "changed Dockerfile"])
def test_a_job_left_running_by_a_killed_engine_is_replaced(deployment, kubelet, built, changes):
    built.write()
    (node,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        pod = built.pod()
        (left,) = deployment.jobs()
        kill(up)
    deployment.stack.cancel().expect()
    if changes:
        built.set_dockerfile("FROM registry.example/better\n")
    deployment.stack.environment[TAKE_OVER] = "true"  # as after any killed engine
    with running(deployment.stack, *UP, "--refresh") as up:
        kubelet.end(
            eventually(lambda: [one for one in deployment.job_pods() if "deletionTimestamp" in one["metadata"]])[0]
        )
        eventually(lambda: uids(deployment.job_pods()) - uids([pod]))
        built.make()
        finish(up)
    (job,) = deployment.jobs()
    assert dockerfile(job) == ("FROM registry.example/better\n" if changes else dockerfile(left))
    assert deployment.ready_label() in deployment.labels(node)


def test_a_job_that_takes_long_says_how_far_it_is_and_if_too_long_how_to_give_it_more_time(
    deployment, kubelet, built, log_server
):
    built.write()
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:build"] = {"timeout": "90s"}
    with running(deployment.stack, *UP) as up:
        slow = built.pod()
        assert slow["spec"]["activeDeadlineSeconds"] == 90
        log_server(slow, "CC [M] kmod.o\n")
        kubelet.run(slow)
        read_until(up, " s now: CC [M] kmod.o")
        kubelet.complete(slow, 137, reason="DeadlineExceeded", message="Pod was active longer than its deadline")
        output = finish(up, 1)
    assert "CC [M] kmod.o\n" in output
    assert "DeadlineExceeded: Pod was active longer than its deadline. Give it more time: kmm:build.timeout." in output


def test_a_job_that_does_not_start_says_why_while_it_is_waited_for(deployment, kubelet, built):
    built.write()
    deployment.nodes.add(KERNEL)
    words = 'Back-off pulling image "registry.example/none"'
    with running(deployment.stack, *UP) as up:
        pod = built.pod()
        kubelet.wait_with(pod, "ImagePullBackOff", words)
        read_until(up, f"does not start: ImagePullBackOff: {words}. It is waited for as long as kmm:build.timeout says")
        kubelet.complete(pod, 137, reason="DeadlineExceeded", message="Pod was active longer than its deadline")
        output = finish(up, 1)
    assert f"its pod did not start within kmm:build.timeout: ImagePullBackOff: {words}" in output
    assert "Traceback" not in output

    with running(deployment.stack, *UP) as up:
        kubelet.wait_with(built.pod(), "ImagePullBackOff", words)
        read_until(up, "does not start")
        kubelet.run(built.pod())
        built.make()
        output = finish(up)
    assert "never retrieved" not in output
    assert "was destroyed" not in output


def test_what_is_built_is_then_signed_and_no_secret_is_told(deployment, built):
    login = json.dumps({"auths": {built.registry.host: {"username": "user", "password": SECRET}}})
    kind, data = "kubernetes.io/dockerconfigjson", {".dockerconfigjson": encoded(login)}
    built.create("secrets", {"metadata": {"name": "login"}, "type": kind, "data": data})
    build = built.build | {"secrets": [{"name": "signing-key"}]}
    built.write(sign=True, container={"build": build}, imageRepoSecret={"name": "login"})
    (node,) = deployment.nodes.add(KERNEL)
    unsigned = f"{KERNEL}-{deployment.namespace}_kmod_kmm_unsigned"
    refused = deployment.stack.preview().expect(1)
    assert "pulumi config set --path 'kmm:sign.image' IMAGE" in refused.output

    deployment.stack.config["kmm:sign"] = {"image": "registry.example/signer:1"}
    with running(deployment.stack, *UP) as up:
        built.pod("build")
        assert not deployment.job_pods("sign")
        built.make(unsigned)
        assert ("kmod", KERNEL) not in deployment.daemon_sets()
        built.make(job_type="sign")
        output = finish(up)
    assert deployment.ready_label() in deployment.labels(node)
    state = deployment.stack.run("stack", "export", "--show-secrets").expect().output
    assert state.count('"secretName": "signing-key"') >= 2
    assert not [value for value in (SECRET, encoded(SECRET), encoded(login)) if value in output + state]
    assert object_steps(deployment.stack.up().expect()) == {("delete", "Job"): 2}


def test_an_image_that_is_built_already_is_only_signed(deployment, built):
    built.write(sign=True)
    built.push(f"{KERNEL}-{deployment.namespace}_kmod_kmm_unsigned")
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:sign"] = {"image": "registry.example/signer:1"}
    with running(deployment.stack, *UP) as up:
        built.make(job_type="sign")
        finish(up)
    (job,) = deployment.jobs()
    assert job["metadata"]["labels"][JOB_TYPE_LABEL] == "sign"


def test_destroy_needs_neither_the_registry_nor_a_job_that_ended_well(deployment, kubelet, built):
    built.write()
    deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        kubelet.complete(built.pod(), 1)
        assert "(it cannot be read: GET /api/v1/namespaces" in finish(up, 1)
    built.registry.stop()
    deployment.stack.destroy().expect()
    assert deployment.is_gone()


def test_preview_and_render_show_jobs_and_write_nothing(deployment, built, read_only, tmp_path):
    built.write(sign=True)
    deployment.stack.config["kmm:sign"] = {"image": "registry.example/signer:1"}
    deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:kubeconfig"] = read_only
    before = deployment.content()
    preview = deployment.stack.preview().expect()
    assert object_steps(preview)[("create", "Job")] == 2
    stack_file = tmp_path / "Pulumi.prod.yaml"
    stack_file.write_text(json.dumps({"config": deployment.stack.config}))
    rendered = kmm("render", "--modules", deployment.folder, "--kubeconfig", read_only, "--config-file", stack_file)
    names = {f"{one['kind']}/{one['metadata']['name']}" for one in yaml.safe_load_all(rendered.stdout)}
    previewed = [step for step in declared(preview) if step.type.startswith("kubernetes:")]
    assert names == {f"{step.type.rpartition(':')[2]}/{step.name.rpartition('/')[2]}" for step in previewed}
    assert deployment.content() == before


def test_a_job_of_somebody_else_is_left_alone_and_named(deployment, built):
    built.write()
    deployment.nodes.add(KERNEL)
    rendered = kmm("render", "--modules", deployment.folder, "--kubeconfig", deployment.stack.config["kmm:kubeconfig"])
    (job,) = [one for one in yaml.safe_load_all(rendered.stdout) if one["kind"] == "Job"]
    deployment.api.request("POST", f"/apis/batch/v1/namespaces/{deployment.namespace}/jobs", job)
    (stranger,) = deployment.jobs()
    output = deployment.stack.up().expect(1).output
    name = job["metadata"]["name"]
    assert f"Job {deployment.namespace}/{name} exists already and is of no stack" in output
    assert f"kubectl -n {deployment.namespace} delete job {name}" in output
    assert "Traceback" not in output
    assert uids(deployment.jobs()) == uids([stranger])


def test_what_jobs_would_wait_for_is_an_error_at_preview_all_in_one(deployment, built):
    deployment.stack.config["kmm:sign"] = {"image": "registry.example/signer:1"}
    built.create("configmaps", {"metadata": {"name": "wrong"}, "data": {"Containerfile": ""}})
    missing = {"dockerfileConfigMap": {"name": "wrong"}, "secrets": [{"name": "token"}], "selector": {"no": "node"}}
    built.write(
        sign=True,
        container={"build": missing, "sign": {"keySecret": {"name": "nokey"}, "certSecret": {"name": "signing-cert"}}},
    )
    built.create("secrets", {"metadata": {"name": "nokey"}, "data": {"private": "a2V5"}})
    deployment.nodes.add(KERNEL)
    refused = deployment.stack.preview().expect(1)
    assert not object_steps(refused)
    place = f"{deployment.namespace}/kmod: spec.moduleLoader.container"
    for problem in (
        f"{place}.build.dockerfileConfigMap: ConfigMap {deployment.namespace}/wrong has no key",
        f"{place}.build.secrets[0]: Secret {deployment.namespace}/token does not exist",
        f"{place}.sign.keySecret: Secret {deployment.namespace}/nokey has no key key, only private",
        "none has the labels no=node. Change build.selector or kmm:build.nodeSelector",
    ):
        assert problem in refused.output
