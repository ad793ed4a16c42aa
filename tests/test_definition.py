"""Guards the models of a Module: an operator's file that is refused, a mistake that is let through, a value that
is changed on its way to the cluster, a message at the wrong field."""

import pytest
import yaml
from module_files import FULL, MINIMAL
from pydantic import ValidationError

from kmm.definition import Module, Toleration
from kmm.definition.messages import explain
from kmm.problems import field_name


def parse(text):
    return Module.model_validate(yaml.safe_load(text), by_alias=True, by_name=False)


def problems(text):
    with pytest.raises(ValidationError) as caught:
        parse(text)
    return {field_name(path): message for path, message in explain(caught.value)}


def changed(path, value, base=FULL):
    """The text of a Module whose field at the dotted `path` (with list indexes) has `value`; ... removes it."""
    definition = yaml.safe_load(base)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = definition
    for part in parents:
        target = target[part] if isinstance(target, list) else target.setdefault(part, {})
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return yaml.safe_dump(definition)


CONTAINER = "spec.moduleLoader.container"
MAPPING = f"{CONTAINER}.kernelMappings.1"
IN_TREE = f"{CONTAINER}.kernelMappings[1].inTreeModuleToRemove"
ORDER_ENTRY = f"{CONTAINER}.modprobe.modulesLoadingOrder[1]"
PLUGIN = "spec.devicePlugin.container"
MOUNT_PATH = f"{PLUGIN}.volumeMounts.1.mountPath"
VOLUME = "spec.devicePlugin.volumes.2.name"


def test_every_field_of_the_api_is_read():
    module = parse(FULL)
    container = module.spec.module_loader.container
    assert module.key == "drivers/my-kmod"
    assert container.registry_tls is not None and container.registry_tls.insecure is False
    assert container.build is not None and container.build.base_image_registry_tls is not None
    assert container.modprobe.modules_loading_order == ("my_kmod", "my_dependency")
    assert container.kernel_mappings[0].container_image is None
    assert module.spec.tolerations[1].toleration_seconds == 60


def test_defaults_are_those_of_the_operator():
    module = parse(MINIMAL)
    assert module.key == "default/my-kmod"
    assert module.spec.module_loader.container.modprobe.dir_name == "/opt"
    assert module.spec.tolerations == ()


def test_kubernetes_values_are_kept_as_given():
    plugin = parse(FULL).spec.device_plugin
    given = yaml.safe_load(FULL)["spec"]["devicePlugin"]
    assert list(plugin.volumes) == given["volumes"]
    assert plugin.container.resources == given["container"]["resources"]
    dumped = plugin.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert dumped == given


def test_a_dump_is_read_back_as_the_same_module():
    module = parse(FULL)
    assert Module.model_validate(module.model_dump(by_alias=True)) == module


def test_the_empty_text_means_not_given_but_for_the_folder():
    modprobe = {"moduleName": "kmod", "dirName": "", "firmwarePath": ""}
    container = parse(changed(f"{CONTAINER}.modprobe", modprobe)).spec.module_loader.container
    assert (container.modprobe.dir_name, container.modprobe.firmware_path) == ("", None)
    assert container.kernel_mappings[0].container_image is None


def test_null_means_not_given():
    assert parse(changed("spec.devicePlugin", None)).spec.device_plugin is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("metadata.name", "a.b-c.d", id="name with dots"),
        pytest.param("metadata.name", "n" * 35, id="longest name"),
        pytest.param("metadata.annotations", {"kmm.sigs.x-k8s.io/unload-policy": "Never"}, id="unload policy"),
        pytest.param("metadata.annotations", {"Example.COM/a_Note": "any text"}, id="annotation in capitals"),
        pytest.param("spec.selector", {}, id="empty selector"),
        pytest.param("spec.selector", {"example.com/Zone_1": "A.b_c"}, id="label with prefix"),
        pytest.param(f"{CONTAINER}.modprobe", {"rawArgs": {"load": ["a"], "unload": ["-r", "a"]}}, id="raw arguments"),
        pytest.param(f"{CONTAINER}.modprobe", {"moduleName": "my-kmod.v2"}, id="module name with dash and dot"),
        pytest.param(f"{MAPPING}.containerImage", "localhost:5000/a/b", id="image without tag"),
        pytest.param(f"{MAPPING}.containerImage", f"r.example/a@sha256:{'0' * 64}", id="image with digest"),
        pytest.param(f"{MAPPING}.containerImage", "r.example/${MOD_NAMESPACE}/$MOD_NAME:$KERNEL_X", id="variables"),
        pytest.param(f"{MAPPING}.regexp", r"^5\.14\..*[^+]$", id="regexp"),
        pytest.param(f"{MAPPING}.sign.filesToSign", ["relative/path"], id="file to sign elsewhere"),
        pytest.param(f"{PLUGIN}.resources.limits.cpu", "1.5", id="decimal quantity"),
        pytest.param(f"{PLUGIN}.resources.limits.cpu", 2, id="whole quantity"),
        pytest.param(f"{PLUGIN}.env.0.name", "with.dots-and spaces", id="relaxed variable name"),
        pytest.param("spec.devicePlugin.volumes.1.hostPath.type", "", id="empty host path type"),
    ],
)
def test_accepts(path, value):
    parse(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "field", "message"),
    [
        ("apiVersion", "kmm.sigs.x-k8s.io/v1", "apiVersion", "allowed are 'kmm.sigs.x-k8s.io/v1beta1'"),
        ("metadata.name", "My_kmod", "metadata.name", "not an object name"),
        ("metadata.name", "n" * 36, "metadata.name", "too long by 1 "),
        ("metadata.name", ..., "metadata.name", "is required"),
        ("metadata.namespace", "a.b", "metadata.namespace", "not a DNS label"),
        (
            "metadata.annotations",
            {"kmm.sigs.x-k8s.io/unload-policy": "never"},
            "metadata.annotations['kmm.sigs.x-k8s.io/unload-policy']",
            "must be Always or Never, not 'never'",
        ),
        ("metadata.annotations", {"a b/c": ""}, "metadata.annotations['a b/c']", "not an object name"),
        ("metadata.labels", {"Example.com/team": ""}, "metadata.labels['Example.com/team']", "not an object name"),
        ("metadata.labels.team", True, "metadata.labels.team", "not true; put it in quotes"),
        ("spec.selector", ..., "spec.selector", "is required"),
        ("spec.selector", {"a b": ""}, "spec.selector['a b']", "not a label name"),
        ("spec.selector", {"zone": "a b"}, "spec.selector.zone", "not a label value"),
        ("spec.imageRepoSecret", "pull", "spec.imageRepoSecret", "must be a mapping, not 'pull'"),
        ("spec.imageRepoSecret", {}, "spec.imageRepoSecret.name", "is required"),
        ("spec.tolerations.0.effect", "NoScedule", "spec.tolerations[0].effect", "'NoSchedule'"),
        ("spec.tolerations.1.value", "x", "spec.tolerations[1].value", "operator Exists"),
        ("spec.tolerations.2.operator", "Equal", "spec.tolerations[2].operator", "no key"),
        ("spec.tolerations.1.effect", "NoSchedule", "spec.tolerations[1].tolerationSeconds", "NoExecute"),
        (f"{CONTAINER}.version", "a b", f"{CONTAINER}.version", "not a label value"),
        (f"{CONTAINER}.imagePullPolicy", "always", f"{CONTAINER}.imagePullPolicy", "'Always'"),
        (f"{CONTAINER}.kernelMappings", [], f"{CONTAINER}.kernelMappings", "at least one"),
        (f"{CONTAINER}.kernelMappings", {}, f"{CONTAINER}.kernelMappings", "must be a list, not a mapping"),
        (f"{CONTAINER}.modprobe", {}, f"{CONTAINER}.modprobe.moduleName", "is required, unless rawArgs"),
        (f"{CONTAINER}.modprobe.rawArgs", {"load": ["x"]}, f"{CONTAINER}.modprobe.rawArgs", "with moduleName"),
        (f"{CONTAINER}.modprobe.moduleName", "a b", f"{CONTAINER}.modprobe.moduleName", "kernel module's name"),
        (f"{CONTAINER}.modprobe.moduleName", "kmod.ko.xz", f"{CONTAINER}.modprobe.moduleName", "write 'kmod'"),
        (
            f"{CONTAINER}.modprobe.modulesLoadingOrder",
            ["my_kmod", "b.ko"],
            ORDER_ENTRY,
            "write 'b', without path or '.ko'",
        ),
        (f"{CONTAINER}.inTreeModuleToRemove", "a.ko.gz", f"{CONTAINER}.inTreeModuleToRemove", "write 'a'"),
        (f"{MAPPING}.inTreeModuleToRemove", "a.ko.zst", IN_TREE, "'a.ko.zst' is the name of a file"),
        (f"{CONTAINER}.modprobe.parameters", [1], f"{CONTAINER}.modprobe.parameters[0]", "put it in quotes"),
        (f"{CONTAINER}.modprobe.modulesLoadingOrder", ["my_kmod"], f"{CONTAINER}.modprobe.modulesLoadingOrder", "two"),
        (f"{CONTAINER}.modprobe.modulesLoadingOrder", ["b", "c"], f"{CONTAINER}.modprobe.modulesLoadingOrder", "first"),
        (
            f"{CONTAINER}.modprobe.modulesLoadingOrder",
            ["my_kmod", "b", "b"],
            f"{CONTAINER}.modprobe.modulesLoadingOrder",
            "b more than once",
        ),
        (f"{CONTAINER}.build.dockerfileConfigMap", ..., f"{CONTAINER}.build.dockerfileConfigMap", "is required"),
        (f"{CONTAINER}.sign.keySecret", ..., f"{CONTAINER}.sign.keySecret", "is required"),
        (f"{MAPPING}.regexp", "(a", f"{CONTAINER}.kernelMappings[1].regexp", "missing ): (a"),
        (f"{MAPPING}.regexp", r"a(?=b)", f"{CONTAINER}.kernelMappings[1].regexp", "RE2"),
        (f"{MAPPING}.regexp", ..., f"{CONTAINER}.kernelMappings[1]", "but has neither"),
        (f"{MAPPING}.literal", "x", f"{CONTAINER}.kernelMappings[1]", "but has both"),
        (f"{MAPPING}.containerImage", "r/x:$KERNAL", f"{CONTAINER}.kernelMappings[1].containerImage", "${KERNAL}"),
        (f"{MAPPING}.containerImage", "R/x y", f"{CONTAINER}.kernelMappings[1].containerImage", "image reference"),
        (f"{MAPPING}.containerImage", "${" * 100_000, f"{CONTAINER}.kernelMappings[1].containerImage", "at most 4096"),
        (f"{MAPPING}.regexp", "1.1" * 100_000, f"{CONTAINER}.kernelMappings[1].regexp", "at most 4096"),
        (f"{PLUGIN}.image", ..., f"{PLUGIN}.image", "is required"),
        (f"{PLUGIN}.image", "plugin:$KERNEL_X", f"{PLUGIN}.image", "image reference"),
        (f"{PLUGIN}.env.0.valueFrom", {"fieldRef": {"fieldPath": "x"}}, f"{PLUGIN}.env[0]", "exclude each other"),
        (f"{PLUGIN}.env.1.valueFrom", {}, f"{PLUGIN}.env[1].valueFrom", "needs one of configMapKeyRef"),
        (f"{PLUGIN}.resources.limits.cpu", "1 core", f"{PLUGIN}.resources.limits.cpu", "not a quantity"),
        (f"{PLUGIN}.resources.limits.cpu", 1.5, f"{PLUGIN}.resources.limits.cpu", "put it in quotes"),
        (f"{PLUGIN}.volumeMounts.0.name", "other", f"{PLUGIN}.volumeMounts[0].name", "volumes are settings"),
        (f"{PLUGIN}.volumeMounts.0.mountPath", ..., f"{PLUGIN}.volumeMounts[0].mountPath", "is required"),
        ("spec.devicePlugin.volumes.0.name", "devices", "spec.devicePlugin.volumes[1].name", "another volume"),
        (VOLUME, "kubelet-device-plugins", "spec.devicePlugin.volumes[2].name", "device plugins get anyway"),
        (VOLUME, "kmm-loaded-module", "spec.devicePlugin.volumes[2].name", "device plugins get anyway"),
        (MOUNT_PATH, "/var/lib/kubelet/device-plugins", f"{PLUGIN}.volumeMounts[1].mountPath", "anyway; leave it out"),
        (MOUNT_PATH, "/run/kmm/loaded-module", f"{PLUGIN}.volumeMounts[1].mountPath", "anyway; leave it out"),
        (MOUNT_PATH, "/etc/plugin", f"{PLUGIN}.volumeMounts[1].mountPath", "/etc/plugin is where another volume"),
        ("spec.devicePlugin.volumes.0.emptyDir", {}, "spec.devicePlugin.volumes[0]", "exclude each other"),
        (
            "spec.devicePlugin.volumes.1.hostPath.type",
            "Dir",
            "spec.devicePlugin.volumes[1].hostPath.type",
            "'Directory'",
        ),
    ],
)
def test_refuses_with_the_field_and_what_is_allowed(path, value, field, message):
    found = problems(changed(path, value))
    field = field.replace(".kernelMappings.1", ".kernelMappings[1]")
    assert list(found) == [field]
    assert message in found[field]


def test_an_image_is_needed_at_the_mapping_or_the_container():
    found = problems(changed(f"{CONTAINER}.kernelMappings.0.containerImage", ..., MINIMAL))
    assert found == {f"{CONTAINER}.kernelMappings[0].containerImage": "is required, here or at the container"}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("spec.moduleLoadr", "moduleLoader"),
        ("spec.module_loader", "moduleLoader"),
        (f"{CONTAINER}.kernelMapping", "kernelMappings"),
        (f"{CONTAINER}.registryTls", "registryTLS"),
        (f"{CONTAINER}.inTreeModulesToRemove", "inTreeModuleToRemove"),
        (f"{CONTAINER}.kernelMappings.0.containerimage", "containerImage"),
        (f"{PLUGIN}.env.0.vaule", "value"),
        ("spec.devicePlugin.volumes.0.confgMap", "configMap"),
        (f"{PLUGIN}.resources.limit", "limits"),
        ("spec.tolerations.0.efect", "effect"),
    ],
)
def test_a_misspelt_key_suggests_the_right_one(misspelt, meant):
    found = problems(changed(misspelt, "x"))
    assert list(found.values()) == [f"is not a known key; did you mean {meant}?"]


def test_a_required_key_that_is_misspelt_is_reported_once():
    text = FULL.replace("moduleLoader:\n    container", "moduleLoadr:\n    container")
    assert problems(text) == {"spec.moduleLoadr": "is not a known key; did you mean moduleLoader?"}


def test_a_key_like_no_other_lists_the_known_ones():
    assert "known here are apiVersion, kind, metadata, spec" in problems(changed("zzz", 1))["zzz"]


def test_the_name_limit_counts_the_labels_that_the_module_uses():
    plain = changed("metadata.name", "n" * 49, MINIMAL)
    parse(plain)
    found = problems(changed("metadata.name", "n" * 50, MINIMAL))
    assert "default.nnn" in found["metadata.name"]
    found = problems(changed(f"{CONTAINER}.version", "v1", plain))
    assert "version-module.default.nnn" in found["metadata.name"]


def test_tolerations_can_be_made_with_python_names():
    assert Toleration(key="a", operator="Exists", effect="NoExecute", toleration_seconds=5).toleration_seconds == 5
