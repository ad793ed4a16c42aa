"""Guards against a login that a node would use and the check does not (or the other way round), and against leaks."""

import base64
import json

import pytest

from kmm.docker_config import DockerConfig
from kmm.errors import RegistryError
from kmm.images import ImageReference


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def config(*servers, **fields):
    auths = {server: {"auth": encoded(f"{server}:secret")} for server in servers}
    return DockerConfig.parse(json.dumps({"auths": auths, **fields}).encode(), "config.json")


def users(docker_config, image):
    return [credential.username for credential in docker_config.credentials(ImageReference.parse(image))]


MATCHES = [
    ("quay.io", "quay.io/org/kmod"),
    ("https://quay.io", "quay.io/org/kmod"),
    ("quay.io/", "quay.io/org/kmod"),
    ("https://quay.io/v2/", "quay.io/org/kmod"),
    ("quay.io/v1", "quay.io/org/kmod"),
    ("quay.io/org", "quay.io/org/kmod"),
    ("quay.io/v2/org", "quay.io/org/kmod"),
    ("quay.io/org/kmod", "quay.io/org/kmod:5.14"),
    ("*.example.org", "registry.example.org/kmod"),
    ("*.*.example.org", "a.b.example.org/kmod"),
    ("reg*.example.org:5000", "registry.example.org:5000/kmod"),
    ("https://index.docker.io/v1/", "alpine"),
    ("docker.io", "org/kmod"),
    ("registry-1.docker.io", "docker.io/org/kmod"),
    ("docker.io/org", "org/kmod"),
    ("localhost:5000", "localhost:5000/kmod"),
]
MISSES = [
    ("quay.io", "quay.io.example.org/kmod"),
    ("quay.io", "quay.io:443/kmod"),
    ("quay.io:443", "quay.io/kmod"),
    ("quay.io/other", "quay.io/org/kmod"),
    ("*.example.org", "example.org/kmod"),
    ("*.example.org", "a.b.example.org/kmod"),
    ("*.example.org", "registry.example.org:5000/kmod"),
    ("index.docker.io", "quay.io/kmod"),
    ("docker.io/org", "other/kmod"),
]


@pytest.mark.parametrize(("server", "image"), MATCHES)
def test_an_entry_matches_as_in_the_kubelet(server, image):
    assert users(config(server), image) == [server.partition(":")[0]]


@pytest.mark.parametrize(("server", "image"), MISSES)
def test_an_entry_for_something_else_is_not_sent(server, image):
    assert users(config(server), image) == []


def test_all_matching_logins_are_candidates_the_most_specific_first():
    several = config("*.example.org", "r.example.org", "r.example.org/a", "r.example.org/a/b", "r.example.org/b")
    assert users(several, "r.example.org/a/b") == [
        "r.example.org/a/b",
        "r.example.org/a",
        "r.example.org",
        "*.example.org",
    ]


def test_login_fields_are_read_in_every_spelling():
    entries = {
        "a.io": {"auth": encoded("a:b:c")},
        "b.io": {"auth": encoded("user:pass").rstrip("=")},
        "c.io": {"username": "user", "password": "pass"},
        "d.io": {"auth": encoded("0000:"), "identitytoken": "token"},
        "e.io": {},
    }
    parsed = DockerConfig.parse(json.dumps({"auths": entries}).encode(), "config.json")

    def login(image):
        return [
            (credential.username, credential.password, credential.identity_token)
            for credential in parsed.credentials(ImageReference.parse(image))
        ]

    assert login("a.io/x") == [("a", "b:c", "")]
    assert login("b.io/x") == [("user", "pass", "")]
    assert login("c.io/x") == [("user", "pass", "")]
    assert login("d.io/x") == [("0000", "", "token")]
    assert login("e.io/x") == []


def test_a_registry_has_its_own_helper_or_the_common_store():
    helped = config(credHelpers={"https://index.docker.io/v1/": "hub", "quay.io": "quay"}, credsStore="desktop")
    assert helped.helper(ImageReference.parse("alpine")) == "hub"
    assert helped.helper(ImageReference.parse("quay.io/kmod")) == "quay"
    assert helped.helper(ImageReference.parse("ghcr.io/kmod")) == "desktop"
    assert config().helper(ImageReference.parse("ghcr.io/kmod")) is None


AUTHS = {"quay.io": {"auth": encoded("user:pass")}}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({".dockerconfigjson": encoded(json.dumps({"auths": AUTHS}))}, id="dockerconfigjson"),
        pytest.param({".dockercfg": encoded(json.dumps(AUTHS))}, id="dockercfg"),
    ],
)
def test_a_pull_secret_of_either_type_is_read(data):
    assert users(DockerConfig.parse_pull_secret(data, "Secret ns/pull"), "quay.io/kmod") == ["user"]


def test_a_pull_secret_runs_no_programs_on_this_machine():
    data = {".dockerconfigjson": encoded(json.dumps({"credsStore": "x", "credHelpers": {"quay.io": "x"}}))}
    secret = DockerConfig.parse_pull_secret(data, "Secret ns/pull")
    assert secret.helper(ImageReference.parse("quay.io/kmod")) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "Secret ns/pull has neither"),
        ({"password": "x"}, "Secret ns/pull has neither"),
        ({".dockerconfigjson": "%%%"}, "is not base64"),
        ({".dockerconfigjson": encoded("hunter2")}, "is not a docker configuration"),
        ({".dockerconfigjson": encoded('{"auths": "hunter2"}')}, "auths"),
        ({".dockerconfigjson": encoded('{"auths": {"quay.io": {"auth": {"a": "hunter2"}}}}')}, "quay.io.auth"),
        ({".dockerconfigjson": encoded('{"auths": {"quay.io": {"auth": "hunter2!"}}}')}, "auths..quay.io"),
        ({".dockercfg": encoded('{"quay.io": {"auth": "aHVudGVyMg=="}}')}, "base64 of USER:PASSWORD"),
    ],
)
def test_a_broken_pull_secret_is_named_and_its_content_is_not_shown(data, problem):
    with pytest.raises(RegistryError, match=problem) as caught:
        DockerConfig.parse_pull_secret(data, "Secret ns/pull")
    assert "Secret ns/pull" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_no_secret_value_shows_in_a_repr():
    shown = repr(DockerConfig.parse(b'{"auths":{"a.io":{"username":"me","password":"hunter2"}}}', "config.json"))
    assert "hunter2" not in shown
    assert "me'" not in shown
