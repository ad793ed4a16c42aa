"""Guards against plans and Jobs made from other settings than those of the stack, or a stack file that is refused
without a word on where and why.
"""

from datetime import timedelta

import pytest

from kmm.errors import SettingsError
from kmm.jobs import Builder
from kmm.settings import ImageCheck
from kmm.stack_file import load_settings
from tools.bootstrap import CHECKOUT


def test_the_settings_of_the_project_are_taken_and_all_others_left(tmp_path):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(
        "encryptionsalt: v1:abc\n"
        "config:\n"
        "  aws:region: eu-west-1\n"
        "  kmm:modules: [modules]\n"
        "  kmm:imageCheck: assume-missing\n"
        "  kmm:audit: ''\n"
        "  kmm:rollout:\n"
        "  kmm:builder: buildkit\n"
        "  kmm:build: {timeout: 30m, nodeSelector: {builder: fast}}\n"
        "  kmm:sign: {image: 'registry.example/signer:1'}\n"
    )
    settings = load_settings(file)
    assert (settings.modules, settings.image_check) == (("modules",), ImageCheck.ASSUME_MISSING)
    assert settings.builder is Builder.BUILDKIT
    assert settings.build.timeout == timedelta(minutes=30)
    assert settings.build.node_selector == {"builder": "fast"}
    assert settings.sign.image == "registry.example/signer:1"


def test_a_label_may_be_named_like_the_mark_of_a_secret(tmp_path):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text("config: {'kmm:modules': [modules], 'kmm:build': {nodeSelector: {secure: 'true', zone: a}}}")
    assert load_settings(file).build.node_selector == {"secure": "true", "zone": "a"}


def test_the_demo_s_stack_can_be_read():
    assert load_settings(CHECKOUT / "stacks/Pulumi.dev.yaml").require_images


def test_what_is_given_wins(tmp_path):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text("config: {'kmm:modules': [modules]}")
    assert load_settings(file, modules=["other"]).modules == ("other",)
    assert load_settings(file, modules=[], source="cluster").modules == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: {'kmm:build': {timeout: soon}, 'kmm:builder': make}", "kmm:build.timeout: "),
        ("config: {'kmm:build': {timeout: soon}, 'kmm:builder': make}", "kmm:builder: "),
        ("config: {'kmm:build': {image: 1}}", "kmm:build.image: "),
        ("config: {'kmm:contxt': prod}", "kmm:contxt is not a setting; did you mean kmm:context?"),
        ("config: {'kmm:build': {arguments: [{secure: v1:abc}]}}", "kmm:build is a secret, and no setting can be"),
        ("config: {}", "kmm:modules is not set"),
        ("config: [", ":2: is not YAML"),
        ("kind: Module", "is no stack file"),
        ("", "is no stack file"),
        (None, "can't be read"),
    ],
    ids=[
        "value",
        "every problem",
        "type",
        "key",
        "secret",
        "no Modules",
        "syntax",
        "something else",
        "empty",
        "missing",
    ],
)
def test_an_unusable_file_is_named_with_what_is_wrong(tmp_path, text, said):
    file = tmp_path / "Pulumi.prod.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
