"""Guards the warnings: one that is missing lets a broken mapping or a risk pass unseen, one too many teaches users
to ignore them all."""

import pytest
from builders import BUILD, IMAGE, SIGN, module

from kmm.checks import warnings
from kmm.problems import field_name

CONTAINER = "spec.moduleLoader.container"
ANNOTATION = "metadata.annotations['{}']".format
BY_DIGEST = f"r.example/${{KERNEL_XYZ}}@sha256:{'0' * 64}"


def found(*mappings, **parts):
    definition = module(mappings=mappings, **parts) if mappings else module(**parts)
    return {field_name(path).removeprefix(f"{CONTAINER}."): message for path, message in warnings(definition)}


@pytest.mark.parametrize(
    "mappings",
    [
        [{"regexp": "^.+$"}],
        [{"literal": "5.14.0-70.el9.x86_64"}, {"regexp": "^.+$"}],
        [{"regexp": r"^5\.14\..+$"}, {"regexp": r"^5\..+$"}],
        [{"regexp": r"fc37\.x86_64$"}, {"literal": "5.14.0-70.el9.x86_64"}],
        [{"regexp": r"^.+\\fc37$"}],
        [{"regexp": "el9"}, {"regexp": "fc37"}],
        [{"literal": "5.14.0-70.el9.x86_64", "containerImage": "r.example/kmod:v1"}],
        [{"regexp": r"^5\.14\.0-70\.el9\.x86_64$", "containerImage": "r.example/kmod:v1"}],
        [{"regexp": "^.+$", "containerImage": "r.example/kmod:$KERNEL_XYZ"}],
        [{"regexp": "^.+$", "registryTLS": {"insecure": False}}],
        [{"regexp": "^.+$", "sign": SIGN, "build": BUILD}],
        [{"regexp": "^.+$", "sign": SIGN | {"unsignedImage": "r.example/unsigned:v1"}}],
        [{"regexp": "^.+$", "containerImage": BY_DIGEST}],
        [{"regexp": "^.+$", "sign": SIGN | {"unsignedImage": IMAGE}, "build": BUILD}],
        [{"regexp": "^5[.]14|^6[.]1"}],
    ],
)
def test_nothing_is_said_about_what_is_fine(mappings):
    assert found(*mappings) == {}


@pytest.mark.parametrize(
    ("mappings", "field", "message"),
    [
        ([{"regexp": r"^.+\fc37\.x86_64$"}], "kernelMappings[0].regexp", "form feed"),
        ([{"regexp": r"^.+\\\fc37$"}], "kernelMappings[0].regexp", "form feed"),
        ([{"literal": "5.14.0+"}], "kernelMappings[0].literal", "without their trailing '+'"),
        ([{"regexp": "^.+$"}, {"literal": "5.14.0"}], "kernelMappings[1]", "kernelMappings[0] takes all"),
        ([{"regexp": ".*"}, {"regexp": "fc37"}], "kernelMappings[1]", "kernelMappings[0] takes all"),
        ([{"regexp": "fc37"}, {"literal": "6.0-fc37"}], "kernelMappings[1]", "kernelMappings[0] takes all"),
        ([{"regexp": "fc37"}, {"regexp": "fc37"}], "kernelMappings[1]", "kernelMappings[0] takes all"),
        ([{"literal": "5.14.0"}, {"literal": "5.14.0"}], "kernelMappings[1]", "kernelMappings[0] takes all"),
        (
            [{"regexp": "5.14.0-70.el9.x86_64"}],
            "kernelMappings[0].regexp",
            r"'^5\.14\.0-70\.el9\.x86_64$'",
        ),
        ([{"regexp": r"5\.14\..*x86_64"}], "kernelMappings[0].regexp", "not anchored"),
        (
            [{"regexp": "^.+$", "containerImage": "r.example/kmod:v1"}],
            "kernelMappings[0].containerImage",
            "the same for every kernel",
        ),
        (
            [{"literal": "5.14.0", "containerImage": "r.example/kmod:latest"}],
            "kernelMappings[0].containerImage",
            "tag latest",
        ),
        ([{"literal": "5.14.0", "containerImage": "localhost:5000/kmod"}], "kernelMappings[0].containerImage", "tag"),
        ([{"regexp": "^.+$", "registryTLS": {"insecure": True}}], "kernelMappings[0].registryTLS.insecure", "HTTP"),
        (
            [{"regexp": "^.+$", "build": BUILD | {"baseImageRegistryTLS": {"insecureSkipTLSVerify": True}}}],
            "kernelMappings[0].build.baseImageRegistryTLS.insecureSkipTLSVerify",
            "any certificate",
        ),
        ([{"regexp": "^.+$", "sign": SIGN}], "kernelMappings[0]", "nothing to sign"),
        (
            [{"regexp": "^.+$", "build": BUILD, "sign": SIGN | {"filesToSign": ["/lib/a.ko"]}}],
            "kernelMappings[0].sign.filesToSign[0]",
            "not below modprobe.dirName, /opt/",
        ),
        ([{"literal": "5.14.0\n"}], "kernelMappings[0].literal", "no kernel version has white space"),
        ([{"literal": "5.14.0+ "}], "kernelMappings[0].literal", "no kernel version has white space"),
        ([{"regexp": "^5[.]14\n"}], "kernelMappings[0].regexp", "write |-"),
        ([{"regexp": " 5.14.0"}], "kernelMappings[0].regexp", "begins or ends with white space"),
        ([{"regexp": "5[.]14|6[.]1"}], "kernelMappings[0].regexp", "write '^(5[.]14|6[.]1)'"),
        (
            [{"regexp": "^.+$", "containerImage": BY_DIGEST, "build": BUILD}],
            "kernelMappings[0].containerImage",
            "cannot have beforehand; name a tag",
        ),
        (
            [{"regexp": "^.+$", "sign": SIGN | {"unsignedImage": IMAGE}}],
            "kernelMappings[0].sign.unsignedImage",
            "is the image that signing makes",
        ),
    ],
)
def test_warns_at_the_field(mappings, field, message):
    warned = found(*mappings)
    assert list(warned) == [field]
    assert message in warned[field]


@pytest.mark.parametrize(
    ("container", "field"),
    [
        ({"containerImage": BY_DIGEST, "build": BUILD}, "containerImage"),
        ({"sign": SIGN | {"unsignedImage": IMAGE}}, "sign.unsignedImage"),
    ],
)
def test_what_mappings_have_of_the_container_is_told_once_at_its_field(container, field):
    definition = module(mappings=[{"regexp": "^5"}, {"regexp": "^6"}], container=container)
    assert [field_name(path) for path, _ in warnings(definition)] == [f"{CONTAINER}.{field}"]


def test_a_mappings_own_image_or_job_counts_with_what_the_container_has():
    assert list(found({"regexp": "^5"}, container={"build": BUILD, "containerImage": BY_DIGEST})) == ["containerImage"]
    own_image = {"regexp": "^5", "containerImage": BY_DIGEST}
    assert list(found(own_image, container={"build": BUILD})) == [], "that of one kernel may be there already"
    own_sign = {"regexp": "^5", "sign": SIGN | {"unsignedImage": "r.example/unsigned:v1"}}
    assert list(found(own_sign, container={"sign": SIGN | {"unsignedImage": IMAGE}})) == []


@pytest.mark.parametrize(("folder", "fields"), [("", []), ("/", []), ("/usr", ["sign.filesToSign[0]"])])
def test_files_to_sign_may_be_anywhere_where_modprobe_looks_without_a_folder(folder, fields):
    sign = SIGN | {"filesToSign": ["/lib/modules/${KERNEL_VERSION}/a.ko"]}
    modprobe = {"moduleName": "a", "dirName": folder}
    assert list(found(modprobe=modprobe, container={"build": BUILD, "sign": sign})) == fields


@pytest.mark.parametrize(
    "modprobe",
    [
        {"args": {"load": ["-v", "-d", "/my modules"], "unload": ["-rv"]}},
        {"parameters": ["a=1", "names=one two", "options=a=1 b=2", 'a="1 b=2"', "a='1 b=2'", "debug b=2", "a=1\tb=2"]},
    ],
)
def test_words_that_reach_modprobe_as_they_are_meant_are_fine(modprobe):
    assert found(modprobe={"moduleName": "kmod"} | modprobe) == {}


@pytest.mark.parametrize(
    ("modprobe", "field", "message"),
    [
        ({"moduleName": "a", "args": {"load": ["-v", "-d /opt"]}}, "args.load[1]", "modprobe as one word"),
        ({"moduleName": "a", "args": {"unload": ["-r\t-v"]}}, "args.unload[0]", "modprobe as one word"),
        ({"rawArgs": {"load": ["-v a"], "unload": ["-r", "a"]}}, "rawArgs.load[0]", "an entry of its own"),
        ({"rawArgs": {"load": ["a"], "unload": ["-r a"]}}, "rawArgs.unload[0]", "an entry of its own"),
        ({"moduleName": "a", "parameters": ["x=1", "a=1 b=2"]}, "parameters[1]", "the kernel as one parameter"),
        ({"moduleName": "a", "parameters": ["a=1 debug b=2 c=3"]}, "parameters[0]", "the kernel as one parameter"),
    ],
)
def test_several_words_in_one_entry_are_warned_about(modprobe, field, message):
    warned = found(modprobe=modprobe)
    assert list(warned) == [f"modprobe.{field}"]
    assert message in warned[f"modprobe.{field}"]


def annotated(key):
    wire = module().model_dump(mode="json", by_alias=True, exclude_unset=True)
    wire["metadata"]["annotations"] = {key: "Never"}
    return {field_name(path): message for path, message in warnings(module().model_validate(wire))}


@pytest.mark.parametrize(
    "key",
    [
        "kmm.sigs.x-k8s.io/unload-policy",
        "kmm.sigs.x-k8s.io/future-kernels",
        "kmm.sigs.x-k8s.io/privileged-device-plugin",
        "example.com/unload-polcy",
        "unload-polcy",
    ],
)
def test_annotations_that_the_project_reads_or_that_are_not_its_own_are_fine(key):
    assert annotated(key) == {}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("kmm.sigs.x-k8s.io/unload-polcy", "did you mean kmm.sigs.x-k8s.io/unload-policy?"),
        ("Kmm.sigs.x-k8s.io/unload-policy", "did you mean kmm.sigs.x-k8s.io/unload-policy?"),
        ("kmm.sigs.x-k8s.io/future_kernel", "did you mean kmm.sigs.x-k8s.io/future-kernels?"),
        ("kmm.sigs.x-k8s.io/zzz", "known here are kmm.sigs.x-k8s.io/future-kernels, "),
    ],
)
def test_an_annotation_of_the_project_that_nobody_reads_is_warned_about(key, message):
    warned = annotated(key)
    assert list(warned) == [ANNOTATION(key)]
    assert message in warned[ANNOTATION(key)]


def test_settings_of_the_container_are_looked_at_too():
    container = {
        "containerImage": "r.example/kmod",
        "registryTLS": {"insecure": True},
        "sign": SIGN | {"unsignedImage": "r.example/unsigned"},
    }
    assert set(found({"literal": "5.14.0"}, container=container)) == {
        "containerImage",
        "registryTLS.insecure",
        "sign.unsignedImage",
    }


def test_a_device_plugin_without_version_is_warned_about():
    plugin = {"container": {"image": "r.example/plugin:latest"}}
    assert list(found(devicePlugin=plugin)) == ["spec.devicePlugin.container.image"]


def test_a_mapping_after_one_that_takes_all_is_warned_about_once():
    warned = found({"regexp": "^.+$"}, {"regexp": ".*"}, {"literal": "5.14.0", "containerImage": IMAGE})
    assert list(warned) == ["kernelMappings[1]", "kernelMappings[2]"]
