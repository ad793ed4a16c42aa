"""Guards against a policy pack that cannot start, judges nothing, or loses a Module's values on their way through the
engine."""

import fcntl
import json
import subprocess
import sys

import pytest

from kmm.jobs import Builder
from kmm.manifests.builders import BUILDERS
from kmm.names import PRIVILEGED_DEVICE_PLUGIN_ANNOTATION
from tests.engine.deployment import KERNEL
from tools.bootstrap import CHECKOUT

PACK = CHECKOUT / "policy"
APPROVED = {PRIVILEGED_DEVICE_PLUGIN_ANNOTATION: "allowed"}
FOR_A_MINUTE = {"key": "slow", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
BUILDER = BUILDERS[Builder.BUILDAH].image


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """The policy pack with its environment."""
    with (tmp_path_factory.getbasetemp().parent / "policy-environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers share the checkout
        subprocess.run(["make", "policy", f"PYTHON={sys.executable}"], cwd=CHECKOUT, check=True)
    return PACK


@pytest.fixture
def judge(deployment, pack, tmp_path):
    """Previews the stack under the pack, configured by the arguments: `allowed_registries={"registries": […]}`."""

    def preview(**policies):
        settings = tmp_path / "policies.json"
        settings.write_text(json.dumps({name.replace("_", "-"): value for name, value in policies.items()}))
        return deployment.stack.preview("--policy-pack", str(pack), "--policy-pack-config", str(settings))

    return preview


@pytest.fixture
def building(deployment):
    """A Module whose image is built, beside which no image is looked for."""
    path = f"/api/v1/namespaces/{deployment.namespace}/configmaps"
    deployment.api.request("POST", path, {"metadata": {"name": "dockerfile"}, "data": {"dockerfile": "FROM a"}})
    deployment.write("built", container={"build": {"dockerfileConfigMap": {"name": "dockerfile"}}})
    deployment.stack.config["kmm:imageCheck"] = "assume-missing"


def test_a_stack_that_keeps_the_rules_passes(deployment, building, judge):
    deployment.write(plugin=True, tolerations=[FOR_A_MINUTE], annotations=APPROVED)
    deployment.nodes.add(KERNEL)
    result = judge(allowed_registries={"registries": ["registry.example", BUILDER.partition(":")[0]]}).expect()
    assert "violation" not in result.output.lower()


def test_a_stack_that_breaks_the_rules_fails_at_preview_with_their_words(deployment, building, judge):
    container = {
        "containerImage": "registry.example/kmod:v1",
        "modprobe": {"moduleName": "kmod"},
        "kernelMappings": [{"regexp": "^.+$", "registryTLS": {"insecure": True}}],
    }
    deployment.write(plugin=True, moduleLoader={"container": container})
    deployment.nodes.add(KERNEL)
    result = judge(allowed_registries={"registries": ["elsewhere.example"]}).expect(1)
    mapping = "spec.moduleLoader.container.kernelMappings[0]"
    for words in (
        f"{mapping}.registryTLS.insecure: allows plain HTTP",
        "spec.moduleLoader.container.containerImage: registry.example/kmod:v1 has neither the kernel's version",
        "spec.devicePlugin.container.image: registry.example/plugin:v1 is not from elsewhere.example",
        f"image {BUILDER} is not from elsewhere.example",
        f"annotate the Module {PRIVILEGED_DEVICE_PLUGIN_ANNOTATION}: allowed",
    ):
        assert words in " ".join(result.output.split())
    for policy in ("no-insecure-registries", "fixed-images", "allowed-registries", "approved-device-plugins"):
        assert policy in result.output
    assert "Traceback" not in result.output


def test_a_rule_can_be_made_advisory_and_variables_can_name_the_pack(deployment, pack, tmp_path):
    deployment.write(plugin=True, container={"containerImage": "registry.example/kmod:v1"})
    deployment.nodes.add(KERNEL)
    settings = tmp_path / "policies.json"
    settings.write_text(json.dumps({"approved-device-plugins": "advisory", "fixed-images": "disabled"}))
    deployment.stack.environment |= {
        "PULUMI_OPTION_POLICY_PACK": str(pack),
        "PULUMI_OPTION_POLICY_PACK_CONFIG": str(settings),
    }
    result = deployment.stack.preview().expect()
    assert "[advisory]" in result.output
    assert "fixed-images" not in result.output
