"""Guards against images that are believed there or missing without anybody having asked, against a registry's failure
that deploys or deletes anything, and against surprises when a kernel or a tag moves.
"""

import json

import pytest
import requests
from commands import kmm

from kmm.names import FUTURE_KERNELS_ANNOTATION
from tests.engine.built_modules import BuiltModules, encoded
from tests.engine.deployment import KERNEL, NEXT_KERNEL, UP, declared, finish, object_steps, running
from tools.images import Pusher
from tools.registry import Registry

PASSWORD = "correct horse"
HTPASSWD = "pusher:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n"  # bcrypt of PASSWORD


def images(deployment):
    """The loaders' images, by kernel."""
    return {
        kernel: one["spec"]["template"]["spec"]["containers"][0]["image"]
        for (_, kernel), one in deployment.daemon_sets().items()
    }


def plan(deployment):
    """The finished `kmm plan` for the stack's settings."""
    file = deployment.folder.with_name("Pulumi.prod.yaml")
    file.write_text(json.dumps({"config": deployment.stack.config}))
    return kmm("plan", "--config-file", file, "-o", "json")


def planned_changes(deployment):
    """Kind and nodes of each change that the plan tells."""
    return [(one["kind"], one["nodes"]) for one in json.loads(plan(deployment).stdout)["changes"]]


def test_a_registry_that_does_not_answer_changes_nothing_unless_images_are_assumed(deployment, built):
    built.write()
    deployment.write("other")
    deployment.nodes.add(KERNEL)
    built.registry.stop()
    deployment.stack.config["kmm:imageCheck"] = "assume-present"
    first = deployment.stack.up().expect()
    assert "kmm:imageCheck is assume-present: no registry was asked" in first.output
    assert object_steps(first)[("create", "Job")] == 0

    deployment.remove("other")
    deployment.nodes.add(NEXT_KERNEL)
    before = deployment.content()
    del deployment.stack.config["kmm:imageCheck"]
    refused = deployment.stack.up().expect(1)
    assert declared(refused) == []
    assert built.image() in refused.output
    for said, option in ((refused.output, "`kmm:imageCheck: "), (plan(deployment).stderr, "--assume-images ")):
        assert option in said
    assert "Traceback" not in refused.output
    deployment.stack.config["kmm:imageCheck"] = "assume-missing"
    assert object_steps(deployment.stack.preview().expect())[("create", "Job")] == 2
    assert deployment.content() == before


@pytest.fixture
def private(deployment, kubelet, tools, tmp_path):
    """A registry that wants a password and holds the image for KERNEL."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with Registry(tmp_path / "private", tools, {"auth": auth}) as registry, requests.Session() as session:
        session.auth = ("pusher", PASSWORD)
        Pusher(f"http://{registry.host}", session).push_image("kmod", KERNEL)
        yield BuiltModules(deployment, kubelet, registry)


def login(host, password):
    """The data of a Secret with a login."""
    text = json.dumps({"auths": {host: {"username": "pusher", "password": password}}})
    return {".dockerconfigjson": encoded(text)}


def test_a_private_registry_is_asked_with_the_login_of_the_module(deployment, private):
    host, kind = private.registry.host, "kubernetes.io/dockerconfigjson"
    for name, password in (("right", PASSWORD), ("wrong", "battery staple")):
        private.create("secrets", {"metadata": {"name": name}, "type": kind, "data": login(host, password)})
    deployment.nodes.add(KERNEL)
    for secret, problem in (
        ("wrong", "refuses the login of Secret {} (401)"),
        ("missing", "wants a login (401), and Secret {} gives none for it"),
    ):
        private.write(imageRepoSecret={"name": secret})
        refused = deployment.stack.preview().expect(1)
        assert not object_steps(refused)
        assert f"{host}/kmod:{KERNEL}" in refused.output
        assert problem.format(f"{deployment.namespace}/{secret}") in refused.output
        assert "battery" not in refused.output
    private.write(imageRepoSecret={"name": "right"})
    assert object_steps(deployment.stack.up().expect()) == {("create", "ServiceAccount"): 1, ("create", "DaemonSet"): 1}
    (pod,) = deployment.pods()
    assert pod["spec"]["imagePullSecrets"] == [{"name": "right"}]
    assert PASSWORD not in json.dumps(deployment.stack.state())


def test_required_images_that_nobody_makes_are_missed_at_preview(deployment, built):
    built.write(container={"build": None})
    built.push(KERNEL)
    deployment.nodes.add(KERNEL)
    deployment.nodes.add(NEXT_KERNEL, 2)
    deployment.stack.preview().expect()
    deployment.stack.config["kmm:requireImages"] = True
    refused = deployment.stack.preview().expect(1)
    assert not object_steps(refused)
    assert not declared(deployment.stack.up().expect(1)), "a first run that fails gave the stack a name"
    assert f"kernel {NEXT_KERNEL} on 2 nodes: image {built.image(NEXT_KERNEL)} is not in its registry" in refused.output
    assert f"kernel {KERNEL} on" not in refused.output
    planned = plan(deployment)
    assert (planned.returncode, planned.stdout) == (1, "")
    assert planned.stderr.strip() in refused.output


def test_the_image_for_a_future_kernel_is_there_before_a_node_boots_into_it(deployment, built):
    annotations = {FUTURE_KERNELS_ANNOTATION: "6.0.0"}
    built.write(container={"kernelMappings": [{"regexp": r"^5\..+$"}]}, annotations=annotations)
    deployment.stack.config["kmm:futureKernels"] = [NEXT_KERNEL]
    built.push(KERNEL)
    (node,) = deployment.nodes.add(KERNEL)
    with running(deployment.stack, *UP) as up:
        built.make(NEXT_KERNEL)
        output = finish(up)
    assert f"{deployment.namespace}/kmod: future kernel 6.0.0: no kernel mapping matches" in output
    assert set(images(deployment)) == {KERNEL}
    deployment.cluster.nodes.set_kernel(node, NEXT_KERNEL)
    moved = deployment.stack.up().expect()
    steps = {("delete", "Job"): 1, ("create", "DaemonSet"): 1, ("delete", "DaemonSet"): 1}
    assert object_steps(moved) == steps
    assert deployment.ready_label() in deployment.labels(node)

    deployment.stack.config["kmm:requireFutureKernels"] = True
    refused = deployment.stack.preview().expect(1)
    assert f"{deployment.namespace}/kmod: future kernel 6.0.0: no kernel mapping matches" in refused.output


def test_a_tag_that_moves_rolls_pinned_loaders_and_no_others(deployment, built):
    built.write()
    digests = [built.push(KERNEL)]
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:pinDigests"] = True
    deployment.stack.up().expect()
    assert images(deployment) == {KERNEL: f"{built.image()}@{digests[0]}"}
    assert planned_changes(deployment) == []
    before = deployment.daemon_sets()["kmod", KERNEL]["metadata"]["uid"]

    digests.append(built.push(KERNEL, index=True))
    assert digests[1] != digests[0]
    assert planned_changes(deployment) == [("reload", [node])]
    assert object_steps(deployment.stack.up().expect()) == {("update", "DaemonSet"): 1}
    assert images(deployment) == {KERNEL: f"{built.image()}@{digests[1]}"}
    assert deployment.daemon_sets()["kmod", KERNEL]["metadata"]["uid"] == before
    assert deployment.ready_label() in deployment.labels(node)
    deployment.stack.preview("--expect-no-changes").expect()
    assert planned_changes(deployment) == []
    deployment.stack.config["kmm:pinDigests"] = False
    assert planned_changes(deployment) == [("reload", [node])]

    deployment.stack.config["kmm:pinDigests"] = True
    built.registry.stop()
    deployment.stack.config["kmm:imageCheck"] = "assume-present"
    unasked = deployment.stack.preview("--expect-no-changes").expect()
    assert "kmm:pinDigests: no digest is known: loaders that run keep their images" in unasked.output
    assert planned_changes(deployment) == []
    assert "kmm:pinDigests: no digest is known: loaders that run keep their images" in plan(deployment).stderr


def test_an_image_that_this_run_builds_is_pinned_and_loaded_by_the_next(deployment, built):
    built.write()
    (node,) = deployment.nodes.add(KERNEL)
    deployment.stack.config["kmm:pinDigests"] = True
    (kernel,) = json.loads(plan(deployment).stdout)["modules"][0]["kernels"]
    assert kernel["actions"] == ["build"]
    assert "first `pulumi up` that finds the image's digest" in kernel["reason"]
    with running(deployment.stack, *UP) as up:
        built.make()
        finish(up)
    assert not deployment.daemon_sets()
    assert object_steps(deployment.stack.up().expect()) == {("delete", "Job"): 1, ("create", "DaemonSet"): 1}
    assert images(deployment)[KERNEL].startswith(f"{built.image()}@sha256:")
    assert deployment.ready_label() in deployment.labels(node)
