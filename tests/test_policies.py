"""Guards against a policy that lets pass what it is there for, or that refuses a Module which keeps it."""

import pytest
from builders import BUILD, IMAGE, SIGN, module

from kmm.names import PRIVILEGED_DEVICE_PLUGIN_ANNOTATION
from kmm.policies import foreign_images, is_from, movable_images, unapproved_device_plugins
from kmm.problems import field_name

LITERAL = {"literal": "5.14.0-70.el9.x86_64"}
DIGEST = f"r.example/kmod@sha256:{'0' * 64}"
FIRST_IMAGE = "spec.moduleLoader.container.kernelMappings[0].containerImage"


def plugin(image="r.example/plugin:v1"):
    return {"devicePlugin": {"container": {"image": image}}}


def annotated(value, **spec):
    wire = module(**spec).model_dump(mode="json", by_alias=True, exclude_unset=True)
    wire["metadata"]["annotations"] = {PRIVILEGED_DEVICE_PLUGIN_ANNOTATION: value}
    return module().model_validate(wire)


def fields(findings):
    return [field_name(finding.path) for finding in findings]


@pytest.mark.parametrize(
    "image",
    [
        "r.example/kmod:${KERNEL_FULL_VERSION}",
        "r.example/kmod:1.2-$KERNEL_VERSION-debug",
        f"{DIGEST}",
        "r.example/kmod:v1@" + DIGEST.partition("@")[2],
    ],
)
def test_images_by_digest_or_kernel_are_fixed(image):
    assert list(movable_images(module(container={"containerImage": image}))) == []


@pytest.mark.parametrize(
    "image",
    [
        "r.example/kmod",
        "r.example/kmod:latest",
        "r.example/kmod:v1",
        "r.example/kmod:$KERNEL_XYZ",  # several kernels share it
        "r.example/${KERNEL_FULL_VERSION}/kmod:v1",
    ],
)
def test_other_images_may_move(image):
    (finding,) = movable_images(module(container={"containerImage": image}))
    assert field_name(finding.path) == "spec.moduleLoader.container.containerImage"
    assert finding.message.startswith(f"{image} has neither")


def test_the_tag_of_a_literal_mapping_may_spell_its_kernel_out():
    right, wrong = (f"r.example/kmod:{kernel}" for kernel in (LITERAL["literal"], "5.14.0-71.el9.x86_64"))
    assert list(movable_images(module(mappings=[LITERAL | {"containerImage": right}]))) == []
    assert fields(movable_images(module(mappings=[LITERAL | {"containerImage": wrong}]))) == [FIRST_IMAGE]


def test_an_image_to_sign_is_judged_too():
    mapping = {"regexp": "^.+$", "sign": SIGN | {"unsignedImage": "r.example/unsigned:v1"}}
    (field,) = fields(movable_images(module(mappings=[mapping])))
    assert field.endswith("kernelMappings[0].sign.unsignedImage")


@pytest.mark.parametrize(
    ("image", "refused"),
    [("r.example/plugin:v1", False), (DIGEST, False), ("r.example/plugin", True), ("r.example/plugin:latest", True)],
)
def test_a_device_plugin_needs_a_version_and_no_kernel(image, refused):
    assert fields(movable_images(module(**plugin(image)))) == ["spec.devicePlugin.container.image"] * refused


@pytest.mark.parametrize(
    ("image", "registry", "allowed"),
    [
        ("registry.example/kmod:1", "registry.example", True),
        ("registry.example/team/kmod:1", "registry.example/team", True),
        ("registry.example/team/kmod:1", "registry.example/team/", True),
        ("registry.example/team2/kmod:1", "registry.example/team", False),
        ("registry.example.evil/kmod:1", "registry.example", False),
        ("registry.example:5000/kmod:1", "registry.example", False),
        ("registry.example:5000/kmod:1", "registry.example:5000", True),
        ("kmod:1", "docker.io", True),
        ("kmod:1", "docker.io/library", True),
        ("index.docker.io/team/kmod:1", "docker.io/team", True),
        (DIGEST, "r.example", True),
    ],
)
def test_a_registry_is_a_host_or_the_beginning_of_a_path(image, registry, allowed):
    assert is_from(image, ["other.example", registry]) is allowed


def test_every_image_of_a_module_has_to_come_from_an_allowed_registry():
    mapping = {"regexp": "^.+$", "containerImage": IMAGE, "sign": SIGN | {"unsignedImage": "a.example/kmod:1"}}
    definition = module(mappings=[mapping], container={"build": BUILD}, **plugin("b.example/plugin:v1"))
    found = list(foreign_images(definition, [IMAGE.partition("/")[0], "c.example"]))
    assert {message.partition(" ")[0] for _, message in found} == {"a.example/kmod:1", "b.example/plugin:v1"}
    assert all(message.endswith(f"is not from {IMAGE.partition('/')[0]} or c.example") for _, message in found)


def test_a_device_plugin_needs_the_annotation():
    (finding,) = unapproved_device_plugins(module(**plugin()))
    assert field_name(finding.path) == "spec.devicePlugin"
    assert f"{PRIVILEGED_DEVICE_PLUGIN_ANNOTATION}: allowed" in finding.message
    assert list(unapproved_device_plugins(annotated("allowed", **plugin()))) == []
    assert list(unapproved_device_plugins(module())) == []


def test_another_value_of_the_annotation_approves_nothing():
    (finding,) = unapproved_device_plugins(annotated("true", **plugin()))
    assert finding.message.endswith("(not 'true')")
