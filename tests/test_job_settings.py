"""Guards against settings of Jobs that are taken for something else, or refused without a word on what is allowed."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from kmm.duration import parse_duration
from kmm.jobs import Builder, JobSettings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h", 3600), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("1h0m1s", 3601), ("168h", 604_800), ("007m", 420)],
)
def test_durations_are_hours_minutes_and_seconds(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "given", ["", "h", "1", "1.5h", "-1h", "1h ", "1m1h", "1d", "1H", "٣h", 60, 1.5, None, True, ["1h"]], ids=repr
)
def test_other_forms_are_refused(given):
    with pytest.raises(ValueError, match="is not a duration: write hours, minutes and seconds"):
        parse_duration(given)


@pytest.mark.parametrize("given", ["0s", "0h0m", "168h1s", "9" * 400 + "h"])
def test_durations_out_of_range_are_refused(given):
    with pytest.raises(ValueError, match="more than 0s and at most 168h"):
        parse_duration(given)


def test_what_is_not_set_has_defaults():
    settings = JobSettings()
    assert settings.builder is Builder.BUILDAH
    assert settings.build.timeout == settings.sign.timeout == timedelta(hours=1)
    assert settings.build.image is settings.sign.image is None


def test_settings_are_read_as_they_are_written():
    settings = JobSettings.model_validate(
        {
            "builder": "kaniko",
            "build": {"nodeSelector": {"a": "b"}, "arguments": ["--verbose"], "timeout": "2h"},
            "sign": {"image": "registry.example/signer:1", "tolerations": [{"operator": "Exists"}]},
        }
    )
    assert (settings.builder, settings.build.arguments) == (Builder.KANIKO, ("--verbose",))
    assert settings.build.timeout == timedelta(hours=2)
    assert settings.sign.tolerations[0].operator == "Exists"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"builder": "docker"}, ("builder",)),
        ({"build": {"timeout": "1 hour"}}, ("build", "timeout")),
        ({"build": {"image": "not an image"}}, ("build", "image")),
        ({"build": {"arguments": "--verbose"}}, ("build", "arguments")),
        ({"build": {"nodeSelector": {"a b": ""}}}, ("build", "nodeSelector", "a b", "[key]")),
        ({"build": {"tolerations": [{"key": "a", "operator": "Is"}]}}, ("build", "tolerations", 0, "operator")),
        ({"build": {"resources": {"limit": {}}}}, ("build", "resources", "limit")),
        ({"sign": {"arguments": []}}, ("sign", "arguments")),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_at_their_place(given, place):
    with pytest.raises(ValidationError) as caught:
        JobSettings.model_validate(given)
    assert [error["loc"] for error in caught.value.errors()] == [place]
