"""Guards the warnings: one that is missing lets a broken mapping or a risk pass unseen, one too many teaches users
to ignore them all."""

import pytest
from builders import BUILD, IMAGE, SIGN, module

from kmm.checks import warnings
from kmm.problems import field_name

CONTAINER = "spec.moduleLoader.container"


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
        [{"regexp": "^.+$", "containerImage": f"r.example/${{KERNEL_XYZ}}@sha256:{'0' * 64}"}],
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
    ],
)
def test_warns_at_the_field(mappings, field, message):
    warned = found(*mappings)
    assert list(warned) == [field]
    assert message in warned[field]


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
