"""Guards against a setting that ends with a traceback, and against credentials in an error.

`tests/engine/test_settings_and_outputs.py` has what the engine makes of settings.
"""

import json

import pytest

from kmm.errors import SettingsError
from kmm.settings import read_settings


def read(secrets=(), **texts):
    given = {"modules": '["modules"]', **texts}
    environment = {
        "PULUMI_CONFIG": {f"kmm:{key}": text for key, text in given.items()},
        "PULUMI_CONFIG_SECRET_KEYS": [*secrets, "other:token"],
    }
    return read_settings("kmm", {name: json.dumps(value) for name, value in environment.items()})


@pytest.mark.parametrize("text", ["[prod", "{prod}", "[1]", '{"a": 1}', "7"])
def test_a_name_that_looks_like_json_is_a_name(text):
    assert read(context=text).context == text


def test_the_content_of_a_kubeconfig_is_left_to_who_reads_it():
    assert read(kubeconfig='{"token": "secret"}').kubeconfig == '{"token": "secret"}'


@pytest.mark.parametrize("text", ["[modules", "{modules", "modules"])
def test_broken_json_is_a_problem_of_its_setting(text):
    with pytest.raises(SettingsError, match=r"^kmm:modules: .*; given: "):
        read(modules=text)


@pytest.mark.parametrize(("key", "end"), [("contexts", "; did you mean kmm:context?"), ("zzz", ".")])
def test_a_key_that_is_no_setting_is_told_with_those_that_are(key, end):
    with pytest.raises(SettingsError) as error:
        read(**{key: "x"})
    assert f"kmm:{key} is not a setting{end} Settings are: source, modules, " in str(error.value)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            {"modules": "modules"},
            "kmm:modules: must be a list; given: 'modules'. Set it: pulumi config set --path 'kmm:modules[0]' VALUE",
        ),
        (
            {"rollout": "5m"},
            "kmm:rollout: must be a mapping; given: '5m'. Set it: pulumi config set --path kmm:rollout.KEY VALUE",
        ),
        (
            {"build": '{"nodeSelector": "fast"}'},
            "kmm:build.nodeSelector: must be a mapping; given: 'fast'. "
            "Set it: pulumi config set --path kmm:build.nodeSelector.KEY VALUE",
        ),
        (
            {"build.timeout": "1h"},
            "kmm:build.timeout is no part of kmm:build, for it was set without --path. "
            "Remove it: pulumi config rm kmm:build.timeout. Set it: pulumi config set --path kmm:build.timeout VALUE",
        ),
        (
            {"modules[1]": "more"},
            "kmm:modules[1] is no part of kmm:modules, for it was set without --path. "
            "Remove it: pulumi config rm 'kmm:modules[1]'. Set it: pulumi config set --path 'kmm:modules[1]' VALUE",
        ),
        (
            {"rollout": '{"timout": "5m"}'},
            "kmm:rollout.timout is not a setting; did you mean kmm:rollout.timeout? Settings of kmm:rollout are: "
            "timeout, maxUnready, wait. Remove it: pulumi config rm --path kmm:rollout.timout",
        ),
        (
            {"build": '{"tolerations": [{"zzz": "NoExecute"}]}'},
            "kmm:build.tolerations[0].zzz is not a setting. Settings of kmm:build.tolerations[0] are: key, operator, "
            "value, effect, tolerationSeconds. Remove it: pulumi config rm --path 'kmm:build.tolerations[0].zzz'",
        ),
    ],
    ids=["list", "mapping", "mapping in a mapping", "part", "element", "key of a part", "key of an element"],
)
def test_a_value_of_the_wrong_shape_or_place_is_told_with_the_command_for_the_right_one(texts, said):
    with pytest.raises(SettingsError) as error:
        read(**texts)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("build", '{"arguments": ["hunter2"]}'),
        ("build", '{"arguments": "hunter2"}'),
        ("builder", "hunter2"),
        ("kubeconfig", "hunter2"),
        ("hunter", "hunter2"),
    ],
)
def test_a_secret_is_refused_with_all_other_problems_and_never_told(key, text):
    with pytest.raises(SettingsError) as error:
        read([f"kmm:{key}"], **{key: text, "imageCheck": "maybe"})
    assert f"kmm:{key} is " in str(error.value)
    assert "kmm:imageCheck: " in str(error.value)
    assert "hunter2" not in str(error.value)
