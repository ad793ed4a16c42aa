"""Guards against Jobs rendered from other settings than those of the stack, or a stack file that is refused without a
word on where and why.
"""

from datetime import timedelta

import pytest

from kmm.errors import SettingsError
from kmm.jobs import Builder, JobSettings
from kmm.stack_file import load_job_settings
from tools.bootstrap import CHECKOUT


def test_the_settings_of_jobs_are_taken_and_all_others_left(tmp_path):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(
        "encryptionsalt: v1:abc\n"
        "config:\n"
        "  aws:region: eu-west-1\n"
        "  kmm:modules: [modules]\n"
        "  kmm:builder: buildkit\n"
        "  kmm:build: {timeout: 30m, nodeSelector: {builder: fast}}\n"
        "  kmm:sign: {image: 'registry.example/signer:1'}\n"
    )
    settings = load_job_settings(file)
    assert settings.builder is Builder.BUILDKIT
    assert settings.build.timeout == timedelta(minutes=30)
    assert settings.build.node_selector == {"builder": "fast"}
    assert settings.sign.image == "registry.example/signer:1"


def test_the_demo_stack_has_no_settings_of_jobs():
    assert load_job_settings(CHECKOUT / "stacks/Pulumi.dev.yaml") == JobSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: {'kmm:build': {timeout: soon}, 'kmm:builder': make}", "kmm:build.timeout: "),
        ("config: {'kmm:build': {timeout: soon}, 'kmm:builder': make}", "kmm:builder: "),
        ("config: {'kmm:build': {image: 1}}", "kmm:build.image: "),
        ("config: [", ":2: is not YAML"),
        ("kind: Module", "is no stack file"),
        ("", "is no stack file"),
        (None, "can't be read"),
    ],
    ids=["value", "every problem", "type", "syntax", "something else", "empty", "missing"],
)
def test_an_unusable_file_is_named_with_what_is_wrong(tmp_path, text, said):
    file = tmp_path / "Pulumi.prod.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_job_settings(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
