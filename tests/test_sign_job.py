"""Guards against sign Jobs that sign the wrong image or files, show the key, or have needless rights."""

from pathlib import Path

import pytest
import yaml
from builders import BUILD, SIGN, module
from image_jobs import SIGNER, admit, container, jobs, missing_plan, pod, variables, words

from kmm.commands.yaml_text import to_yaml
from kmm.errors import PlanError
from kmm.jobs import JobSettings
from kmm.manifests import JobInputs, manifests
from kmm.names import MODULE_NAME_LABEL

GOLDEN = Path(__file__).parent / "golden_jobs"
KERNEL = "5.14.0-70.el9.x86_64"
IMAGE = f"registry.example/org/kmod:{KERNEL}"
UNSIGNED = "other.example/unsigned:${KERNEL_XYZ}"
RELAXED = {"insecure": True}


def sign_job(sign=None, **container_fields):
    *_, job = jobs({"sign": SIGN | {"unsignedImage": UNSIGNED} | (sign or {})} | container_fields)
    return job


def test_the_job_is_the_golden_one(request):
    settings = {"sign": {"image": SIGNER, "timeout": "10m", "resources": {"limits": {"memory": "1Gi"}}}}
    fields = {"sign": SIGN | {"unsignedImage": UNSIGNED, "filesToSign": ["/opt/lib/modules/${KERNEL_VERSION}/*.ko"]}}
    (job,) = jobs(fields, settings=settings, imageRepoSecret={"name": "pull"})
    expected = GOLDEN / "sign.yaml"
    if request.config.getoption("--update-golden"):
        expected.write_text(to_yaml([job]))
    assert yaml.safe_load(expected.read_text()) == job


@pytest.mark.engine
def test_the_api_server_takes_the_job(cluster, namespace):
    job = sign_job()
    body = job | {"metadata": job["metadata"] | {"namespace": namespace}}
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All&fieldValidation=Strict"
    assert cluster.api.request("POST", path, body)["metadata"]["name"] == job["metadata"]["name"]
    admit(cluster, namespace, "restricted", job)


def test_the_users_unsigned_image_is_signed():
    found = variables(sign_job())
    assert (found["UNSIGNED_IMAGE"], found["SIGNED_IMAGE"]) == ("other.example/unsigned:5.14.0", IMAGE)


def test_a_built_image_is_signed_rather_than_the_users():
    found = variables(sign_job(build=BUILD))
    assert found["UNSIGNED_IMAGE"] == f"{IMAGE}-default_kmod_kmm_unsigned"


def test_files_are_words_of_their_own_as_they_were_written():
    files = ["/opt/a b.ko", "/opt/$(SIGNED_IMAGE)/'*.ko", "/opt/$$.ko"]
    assert words(sign_job({"filesToSign": files})) == files


def test_without_files_all_modules_are_signed():
    job = sign_job()
    assert "args" not in container(job)
    assert variables(job)["MODULES_DIR"] == "/opt"


@pytest.mark.parametrize(("folder", "searched"), [("/usr", "/usr"), ("", "/")])
def test_modules_are_looked_for_in_the_modules_folder(folder, searched):
    """The signer would take the empty text for its default, /opt."""
    assert variables(sign_job(modprobe={"moduleName": "kmod", "dirName": folder}))["MODULES_DIR"] == searched


@pytest.mark.parametrize(
    ("fields", "pull", "push"),
    [
        ({}, "true", "true"),
        ({"registryTLS": RELAXED}, "true", "false"),
        ({"sign": {"unsignedImageRegistryTLS": RELAXED}}, "false", "true"),
        ({"build": BUILD, "registryTLS": RELAXED}, "false", "false"),
        ({"build": BUILD, "sign": {"unsignedImageRegistryTLS": RELAXED}}, "true", "true"),
    ],
    ids=["neither", "push", "pull", "built-and-pushed", "built-elsewhere"],
)
def test_each_registry_is_trusted_as_the_module_says(fields, pull, push):
    """What a build pushed is pulled from where it was pushed to, as its registry needs it."""
    found = variables(sign_job(**fields))
    assert (found["PULL_TLS_VERIFY"], found["PUSH_TLS_VERIFY"]) == (pull, push)


def test_key_and_certificate_are_only_mounted():
    job = sign_job()
    secrets = {one["name"]: one["secret"] for one in pod(job)["volumes"] if "secret" in one}
    mounts = {
        one["mountPath"]: secrets[one["name"]] for one in container(job)["volumeMounts"] if one["name"] in secrets
    }
    assert mounts == {
        "/run/secrets/signing-key": {"secretName": "key", "items": [{"key": "key", "path": "key"}]},
        "/run/secrets/signing-cert": {"secretName": "cert", "items": [{"key": "cert", "path": "cert"}]},
    }
    found = variables(job)
    assert (found["KEY_FILE"], found["CERT_FILE"]) == ("/run/secrets/signing-key/key", "/run/secrets/signing-cert/cert")


def test_signing_needs_no_rights():
    job = sign_job()
    assert pod(job)["securityContext"]["runAsNonRoot"] is True
    context = container(job)["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert variables(job)["TMPDIR"] in [one["mountPath"] for one in container(job)["volumeMounts"]]


def test_without_a_signer_the_error_says_how_to_get_one():
    plan = missing_plan(module(container={"sign": SIGN | {"unsignedImage": UNSIGNED}}))
    with pytest.raises(PlanError, match=r"kmm:sign.image is not set.*loader-image/README.md.*pulumi config set"):
        list(manifests(plan, JobInputs(JobSettings(), {})))


def test_a_module_with_nothing_to_sign_does_not_stop_the_others():
    signed = {"sign": SIGN | {"unsignedImage": UNSIGNED}}
    plan = missing_plan(module("nothing", container={"sign": SIGN}), module("signed", container=signed))
    settings = JobSettings.model_validate({"sign": {"image": SIGNER}})
    kinds = [
        (one["kind"], one["metadata"]["labels"][MODULE_NAME_LABEL]) for one in manifests(plan, JobInputs(settings, {}))
    ]
    assert ("Job", "signed") in kinds
    assert ("DaemonSet", "nothing") in kinds
    assert ("Job", "nothing") not in kinds
