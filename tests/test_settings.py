"""Guards against a setting that ends with a traceback, and against credentials in an error.

`tests/engine/test_settings_and_outputs.py` has what the engine makes of settings.
"""

import json

import pytest

from kmm.errors import SettingsError
from kmm.settings import read_settings


def read(**texts):
    given = {"modules": '["modules"]', **texts}
    return read_settings("kmm", {"PULUMI_CONFIG": json.dumps({f"kmm:{key}": text for key, text in given.items()})})


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
