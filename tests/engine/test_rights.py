"""Guards against asking for more rights than the manifests of deploy/rbac give, and against a read that was refused
being taken for an empty answer, upon which Pulumi would delete what is still needed.
"""

from contextlib import suppress

import pytest
import yaml
from commands import kmm

from tests.engine.accounts import Account
from tests.engine.deployment import KERNEL, NEXT_KERNEL, declared, object_steps
from tools.api import ApiError
from tools.bootstrap import CHECKOUT

BUILD = {
    "containerImage": "registry.example/built:${KERNEL_FULL_VERSION}",
    "modprobe": {"moduleName": "built"},
    "kernelMappings": [{"regexp": "^.+$", "build": {"dockerfileConfigMap": {"name": "dockerfile"}}}],
}


def rules(name):
    """The rules of a manifest in deploy/rbac."""
    return yaml.safe_load((CHECKOUT / f"deploy/rbac/{name}.yaml").read_text())["rules"]


@pytest.fixture
def act_as(deployment, cluster, tmp_path):
    """Makes the stack act with these rules alone."""
    accounts = []

    def configure(*given):
        account = Account(cluster, deployment.namespace, f"account-{len(accounts)}", given)
        accounts.append(account)
        deployment.stack.config["kmm:kubeconfig"] = account.write_kubeconfig(tmp_path / f"account-{len(accounts)}")
        return account

    yield configure
    for account in accounts:
        with suppress(ApiError):  # the test may have done so
            account.forget()


def test_previews_need_no_more_than_their_role_and_it_does_not_suffice_to_write(deployment, act_as):
    deployment.write(plugin=True)
    deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    deployment.nodes.add(NEXT_KERNEL)
    deployment.write("new")
    deployment.write(plugin=True, modprobe={"parameters": ["debug=1"]})
    act_as(*rules("preview"))
    before = deployment.content()
    preview = deployment.stack.preview("--refresh").expect()
    assert object_steps(preview)[("create", "DaemonSet")] == 3
    assert "Forbidden" not in preview.output
    commands = {"plan": 0, "render": 0, "status": 3, f"explain {deployment.namespace}/kmod": 0}
    for command, exit_code in commands.items():
        options = ["--modules", deployment.folder, "--kubeconfig", deployment.stack.config["kmm:kubeconfig"]]
        shown = kmm(*command.split(), *options)
        assert (shown.returncode, "orbidden" in shown.stdout + shown.stderr) == (exit_code, False), shown.stderr
    refused = deployment.stack.up().expect(1)
    assert 'cannot patch resource "nodes"' in refused.output
    assert "Traceback" not in refused.output
    assert deployment.content() == before


def test_up_and_destroy_need_no_more_than_their_role(deployment, act_as):
    config_maps = f"/api/v1/namespaces/{deployment.namespace}/configmaps"
    deployment.api.request("POST", config_maps, {"metadata": {"name": "dockerfile"}, "data": {"dockerfile": "FROM a"}})
    deployment.stack.config["kmm:imageCheck"] = "assume-missing"
    deployment.write(plugin=True)
    deployment.write("built", moduleLoader={"container": BUILD})
    deployment.nodes.add(KERNEL)
    (moves,) = deployment.nodes.add(NEXT_KERNEL)
    account = act_as(*rules("up"))
    result = deployment.stack.up().expect()
    assert object_steps(result)[("create", "Job")] == 2

    deployment.cluster.nodes.set_kernel(moves, KERNEL)
    deployment.write(plugin=True, modprobe={"parameters": ["debug=1"]})
    changed = deployment.stack.up("--refresh").expect()
    assert object_steps(changed)[("update", "DaemonSet")] == 1
    for output in (result.output, changed.output):
        assert "forbidden" not in output.lower()

    deployment.stack.destroy().expect()
    account.forget()
    assert deployment.is_gone()


def test_a_namespace_that_is_not_there_is_named_in_the_preview_by_who_may_know(deployment, act_as):
    former = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
    deployment.write()
    deployment.nodes.add(KERNEL)
    act_as(former, *(rule for rule in rules("up") if "namespaces" not in rule["resources"]))
    deployment.stack.up().expect()
    act_as(*rules("preview"))
    deployment.write("typo")
    file = deployment.folder / "typo.yaml"
    file.write_text(file.read_text().replace(f"namespace: {deployment.namespace}", "namespace: drivrs"))
    refused = deployment.stack.preview().expect(1)
    assert f"drivrs/typo ({file}:1): metadata.namespace: context " in refused.output
    assert " has no namespace drivrs. Correct it, or make one: kubectl create namespace drivrs" in refused.output
    assert "kubectl create namespace drivrs" in refused.output
    assert not declared(refused)
    assert "Traceback" not in refused.output


def test_what_cannot_be_read_changes_nothing(deployment, act_as, tmp_path):
    deployment.write()
    deployment.nodes.add(KERNEL)
    deployment.stack.up().expect()
    before = deployment.content()
    for resource, place in (("nodes", "/api/v1/nodes"), ("daemonsets", "/apis/apps/v1/daemonsets")):
        act_as(*(rule for rule in rules("up") if resource not in rule["resources"]))
        refused = deployment.stack.up().expect(1)
        assert not declared(refused)
        assert f"GET {place}: 403" in refused.output
        assert f'cannot list resource "{resource}"' in refused.output
        assert "Traceback" not in refused.output

    config = yaml.safe_load(deployment.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "stopped").write_text(yaml.safe_dump(config))
    deployment.stack.config["kmm:kubeconfig"] = str(tmp_path / "stopped")
    failed = deployment.stack.up().expect(1)
    assert not declared(failed)
    assert "connection refused or no route; is the cluster running" in failed.output
    assert "Traceback" not in failed.output
    assert {key: one for key, one in deployment.content().items() if "/account-" not in key} == before
