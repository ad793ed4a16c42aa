"""Guards against missing a login that docker or podman would use, and against helpers that fail unseen."""

import json
import stat

import pytest

from kmm.errors import RegistryError
from kmm.images import ImageReference
from kmm.logins import UserLogins

KMOD = ImageReference.parse("quay.io/kmod")


def login(user):
    return {"auths": {"quay.io": {"username": user, "password": "hunter2"}}}


def users(image=KMOD):
    return [credential.username for credential in UserLogins().credentials(image)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for variable in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def write(home):
    def write(path, content):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    return write


@pytest.fixture
def helper(home, monkeypatch):
    """Installs a `docker-credential-NAME` made of shell commands; it notes what it was asked in `asked`."""

    def install(name, commands):
        program = home / "bin" / f"docker-credential-{name}"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nread server\necho "$1 $server" >> {home}/asked\n{commands}\n')
        program.chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return install


def test_a_user_without_files_has_no_logins():
    assert users() == []


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        pytest.param({}, ".docker/config.json", id="docker"),
        pytest.param({"DOCKER_CONFIG": "elsewhere"}, "elsewhere/config.json", id="DOCKER_CONFIG"),
        pytest.param({"XDG_RUNTIME_DIR": "run"}, "run/containers/auth.json", id="podman"),
        pytest.param({"REGISTRY_AUTH_FILE": "auth.json"}, "auth.json", id="REGISTRY_AUTH_FILE"),
    ],
)
def test_logins_are_found_where_docker_and_podman_keep_them(environment, path, home, write, monkeypatch):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(home / value))
    write(path, login("me"))
    assert users() == ["me"]


def test_docker_comes_before_podman(home, write, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    write(".docker/config.json", login("docker"))
    write("run/containers/auth.json", login("podman"))
    assert users() == ["docker", "podman"]


def test_an_unreadable_file_is_not_the_same_as_none(home):
    (home / ".docker/config.json").mkdir(parents=True)
    with pytest.raises(RegistryError, match=r"config\.json with your registry logins can't be read"):
        users()


def test_a_helper_is_asked_once_per_registry(home, write, helper):
    helper("test", """echo '{"ServerURL":"x","Username":"helped","Secret":"hunter2"}'""")
    write(".docker/config.json", {"credsStore": "test"})
    logins = UserLogins()
    for image in ("quay.io/a", "quay.io/b", "alpine"):
        assert [credential.username for credential in logins.credentials(ImageReference.parse(image))] == ["helped"]
    assert (home / "asked").read_text().splitlines() == ["get quay.io", "get https://index.docker.io/v1/"]


def test_a_helper_may_give_an_identity_token(write, helper):
    helper("test", """echo '{"Username":"<token>","Secret":"identity"}'""")
    write(".docker/config.json", {"credHelpers": {"quay.io": "test"}})
    (credential,) = UserLogins().credentials(KMOD)
    assert (credential.username, credential.identity_token) == ("", "identity")


def test_a_helper_that_knows_no_login_leaves_those_of_the_file(write, helper):
    helper("test", "echo 'credentials not found in native keychain'; exit 1")
    write(".docker/config.json", {"credsStore": "test", **login("file")})
    assert users() == ["file"]


@pytest.mark.parametrize(
    ("commands", "problem"),
    [
        pytest.param("echo 'keychain is locked' >&2; exit 1", "failed for quay.io: keychain is locked", id="stderr"),
        pytest.param("exit 3", "failed for quay.io: exit code 3", id="silent"),
        pytest.param("echo hunter2", "gave no JSON with Username and Secret", id="no JSON"),
        pytest.param("""echo '{"Secret":"hunter2"}'""", "gave no JSON with Username and Secret", id="half"),
        pytest.param("exec sleep 5", "no answer in 0 s", id="hangs"),
    ],
)
def test_a_helper_that_fails_is_named(commands, problem, write, helper, monkeypatch):
    helper("test", commands)
    monkeypatch.setattr("kmm.logins._HELPER_TIMEOUT", 0.3 if "sleep" in commands else 10)
    write(".docker/config.json", {"credsStore": "test"})
    with pytest.raises(RegistryError, match=f"docker-credential-test.*{problem}") as caught:
        users()
    assert "hunter2" not in str(caught.value)


def test_a_helper_that_failed_is_not_run_again(home, write, helper):
    helper("test", "exit 3")
    write(".docker/config.json", {"credsStore": "test"})
    logins = UserLogins()
    for image in ("quay.io/a", "quay.io/b"):
        with pytest.raises(RegistryError, match="exit code 3"):
            logins.credentials(ImageReference.parse(image))
    assert (home / "asked").read_text().splitlines() == ["get quay.io"]


def test_a_helper_that_is_not_installed_is_named(write):
    write(".docker/config.json", {"credsStore": "missing"})
    with pytest.raises(RegistryError, match="docker-credential-missing, which your docker configuration names"):
        users()
