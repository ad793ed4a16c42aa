"""Guards against a misspelt setting that is silently ignored, a traceback, and outputs that a script can't use."""

import pytest
import yaml

from tests.engine.deployment import KERNEL, NEXT_KERNEL, declared


def test_wrong_settings_are_told_all_at_once_by_words_alone(deployment):
    deployment.write()
    deployment.stack.config |= {
        "kmm:module": ["x"],
        "kmm:imageCheck": "maybe",
        "kmm:rollout": {"timeout": "soon", "maxUnready": "200%", "patience": 1},
    }
    result = deployment.stack.preview().expect(1)
    for words in (
        "kmm:module is not a setting; did you mean kmm:modules?",
        "kmm:imageCheck: Input should be 'registry', 'assume-present' or 'assume-missing'",
        "kmm:rollout.timeout",
        "kmm:rollout.maxUnready",
        "kmm:rollout.patience is not a setting",
    ):
        assert words in result.output
    assert "Traceback" not in result.output
    assert not declared(result)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("kmm:modules", ["/nowhere/module.yaml"], "/nowhere/module.yaml"),
        ("kmm:modules", "not-a-list", "modules"),
        ("kmm:requireImages", "perhaps", "requireImages"),
        ("kmm:kubeconfig", "/nowhere/kubeconfig", "/nowhere/kubeconfig"),
        ("kmm:context", "nobody", "nobody"),
    ],
    ids=["modules that are not there", "no list", "no boolean", "kubeconfig", "context"],
)
def test_a_setting_of_the_wrong_type_or_that_leads_nowhere_ends_with_words_alone(deployment, key, value, words):
    deployment.write()
    deployment.stack.config[key] = value
    result = deployment.stack.preview()
    assert result.exit_code not in (0, 255)
    assert words in result.output
    assert "Traceback" not in result.output
    assert not declared(result)


@pytest.mark.parametrize("path", ["kmm:build.arguments", "kmm:build.arguments[0]"], ids=["text", "list"])
def test_a_secret_is_refused_and_not_told(deployment, path):
    """Inside of a Job's command the state would have it in plain text."""
    deployment.write()
    stack = deployment.stack
    file = stack.folder / "Pulumi.test.yaml"
    stack.run("config", "set", "--secret", "--path", path, "hunter2", "--config-file", str(file)).expect()
    stack.config["kmm:build"] = yaml.safe_load(file.read_text())["config"]["kmm:build"]
    result = stack.preview().expect(1)
    assert "kmm:build is a secret, and no setting can be" in result.output
    assert "hunter2" not in result.output
    assert not declared(result)


def test_no_modules_at_all_says_how_to_set_them(deployment):
    result = deployment.stack.preview().expect(1)
    assert "pulumi config set --path 'kmm:modules[0]' PATH" in result.output
    assert "Traceback" not in result.output


def test_outputs_are_plain_values_of_module_kernel_nodes_and_image(deployment):
    deployment.write(plugin=True)
    deployment.write("literal", moduleLoader=literal(NEXT_KERNEL))
    (first,), (second,) = deployment.nodes.add(KERNEL), deployment.nodes.add(NEXT_KERNEL)
    deployment.stack.up().expect()
    modules = deployment.stack.outputs()["modules"]
    daemon_sets = {key: one["metadata"]["name"] for key, one in deployment.daemon_sets().items()}
    kmod = modules[f"{deployment.namespace}/kmod"]
    assert kmod["devicePlugin"] == daemon_sets["kmod", ""]
    assert kmod["kernels"][KERNEL] == {
        "nodes": [first],
        "image": f"registry.example/kmod:{KERNEL}",
        "daemonSet": daemon_sets["kmod", KERNEL],
        "actions": ["load"],
        "reason": None,
    }
    skipped = modules[f"{deployment.namespace}/literal"]["kernels"][KERNEL]
    assert (skipped["daemonSet"], skipped["image"], skipped["nodes"]) == (None, None, [first])
    assert "mapping" in skipped["reason"]
    assert modules[f"{deployment.namespace}/literal"]["kernels"][NEXT_KERNEL]["nodes"] == [second]


def literal(kernel):
    """A loader for one kernel alone."""
    container = {
        "modprobe": {"moduleName": "literal"},
        "kernelMappings": [{"literal": kernel, "containerImage": "registry.example/literal:1"}],
    }
    return {"container": container}
