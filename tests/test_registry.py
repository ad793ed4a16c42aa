"""Guards against taking a registry's refusal or fault for "absent" (a needless build, a push over a good image),
against hanging on a registry that is down, and against passwords that go to the wrong place or into a message.

The scripted registry shows what a real one does rarely; `tests/test_registry_real.py` asks a real one.
"""

import base64
import datetime as dt
import hashlib
import json
import re
import ssl
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from registries import DIGEST, PRESENT, UNKNOWN, Reply, ScriptedServer

import kmm.registry_http
from kmm.docker_config import DockerConfig
from kmm.errors import RegistryError
from kmm.registry import ImageRequest, check_images
from tools.images import INDEX, MANIFEST

PING = Reply(200, {"Content-Type": "application/json"}, b"{}")
HTML = Reply(200, {"Content-Type": "text/html"}, b"<html>hello</html>")
PASSWORD = "hunter2"


def pull_secret(server, username="user", password=PASSWORD, **fields):
    entry = {"username": username, "password": password, **fields}
    text = json.dumps({"auths": {server: entry}}).encode()
    return DockerConfig.parse_pull_secret({".dockerconfigjson": base64.b64encode(text).decode()}, "Secret ns/pull")


def basic(username="user", password=PASSWORD):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def ask(host, *repositories, **settings):
    settings = {"insecure": True} | settings
    return check_images([ImageRequest(f"{host}/{repository}", **settings) for repository in repositories])


def problem(host, *repositories, **settings):
    """The error's text, which never holds a password."""
    with pytest.raises(RegistryError) as caught:
        ask(host, *repositories, **settings)
    assert PASSWORD not in str(caught.value)
    assert base64.b64encode(f"user:{PASSWORD}".encode()).decode() not in str(caught.value)
    return str(caught.value)


def test_a_manifest_gives_its_digest_and_a_404_means_absent():
    def answer(request):
        if request.path == "/v2/":
            return PING
        return PRESENT if request.path == "/v2/kmod/manifests/there" else UNKNOWN

    with ScriptedServer(answer) as registry:
        assert ask(registry.host, "kmod:there", "kmod:gone") == {
            f"{registry.host}/kmod:there": DIGEST,
            f"{registry.host}/kmod:gone": None,
        }


def test_a_404_that_says_it_is_a_registrys_needs_no_second_question():
    absent = Reply(404, {"Docker-Distribution-Api-Version": "registry/2.0"})
    with ScriptedServer(lambda request: absent) as registry:
        assert set(ask(registry.host, "kmod").values()) == {None}


def test_all_kinds_of_manifest_are_accepted():
    with ScriptedServer(lambda request: PRESENT) as registry:
        ask(registry.host, "kmod")
    accepted = {media_type.strip() for media_type in registry.requests[0].headers["Accept"].split(",")}
    assert accepted == {
        MANIFEST,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }


def test_each_image_is_asked_for_once():
    with ScriptedServer(lambda request: PRESENT) as registry:
        ask(registry.host, *["kmod:1", "kmod:2"] * 10)
    assert sorted(registry.asked()) == ["HEAD /v2/kmod/manifests/1", "HEAD /v2/kmod/manifests/2"]


def test_an_image_by_digest_is_asked_for_by_digest():
    with ScriptedServer(lambda request: PRESENT) as registry:
        ask(registry.host, f"kmod:1@{DIGEST}")
    assert registry.asked() == [f"HEAD /v2/kmod/manifests/{DIGEST}"]


@pytest.mark.parametrize(
    "head",
    [pytest.param(Reply(405), id="HEAD refused"), pytest.param(Reply(200, {"Content-Type": INDEX}), id="no digest")],
)
def test_the_manifest_itself_gives_the_digest_where_head_does_not(head):
    body = b'{"schemaVersion":2}'

    def answer(request):
        return head if request.method == "HEAD" else Reply(200, {"Content-Type": f"{INDEX}; charset=utf-8"}, body)

    with ScriptedServer(answer) as registry:
        digests = ask(registry.host, "kmod")
    assert set(digests.values()) == {f"sha256:{hashlib.sha256(body).hexdigest()}"}


def test_an_endless_manifest_is_not_read_to_its_end():
    huge = Reply(200, {"Content-Type": MANIFEST}, b" " * (5 * 1024 * 1024))
    with ScriptedServer(lambda request: huge) as registry:
        assert "an answer of more than 4194304 bytes" in problem(registry.host, "kmod")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda request: HTML, id="a page for everything"),
        pytest.param(lambda request: Reply(404, HTML.headers, HTML.body), id="404 for everything"),
        pytest.param(lambda request: HTML if request.path == "/v2/" else UNKNOWN, id="404 for the image"),
    ],
)
def test_a_web_server_is_not_a_registry_without_the_image(answer):
    with ScriptedServer(answer) as registry:
        assert f"{registry.host} is a web server but no registry" in problem(registry.host, "kmod")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 407, 410, 418, 429, 500, 501, 502, 503, 504])
def test_no_other_status_means_absent(status, monkeypatch):
    monkeypatch.setattr(kmm.registry_http, "_RETRIES", kmm.registry_http._RETRIES.new(total=0))
    with ScriptedServer(lambda request: Reply(status)) as registry:
        text = problem(registry.host, "kmod:1", "kmod:2")
    assert str(status) in text
    assert f"- {registry.host}/kmod:1\n" in text
    assert f"- {registry.host}/kmod:2\n" in text


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_tried_again(status):
    replies = iter([Reply(status), Reply(status, {"Retry-After": "1"}), PRESENT])
    with ScriptedServer(lambda request: next(replies)) as registry:
        began = time.monotonic()
        assert set(ask(registry.host, "kmod").values()) == {DIGEST}
    assert time.monotonic() - began >= 1


def test_a_lasting_fault_ends_after_a_few_tries():
    with ScriptedServer(lambda request: Reply(500)) as registry:
        assert "answers 500" in problem(registry.host, "kmod")
    assert 2 <= len(registry.requests) <= 5


def test_a_long_retry_after_is_cut():
    assert kmm.registry_http._RETRIES.parse_retry_after("86400") <= 30


def test_a_rate_limit_stops_all_further_questions():
    with ScriptedServer(lambda request: Reply(429, {"Retry-After": "0"})) as registry:
        assert "rate limit" in problem(registry.host, *(f"kmod:{tag}" for tag in range(200)))
    assert len(registry.requests) < 100


def test_a_silent_registry_costs_two_time_limits_however_many_the_images(monkeypatch):
    monkeypatch.setattr(kmm.registry_http, "TIMEOUT", (0.3, 0.3))

    def answer(request):
        time.sleep(1)
        return PRESENT

    with ScriptedServer(answer) as registry:
        began = time.monotonic()
        text = problem(registry.host, *(f"kmod:{tag}" for tag in range(200)))
    assert "does not answer in time" in text
    assert "and 190 more" in text
    assert time.monotonic() - began < 3


def test_failures_of_several_registries_are_reported_together():
    with ScriptedServer(lambda request: Reply(403)) as private, ScriptedServer(lambda request: HTML) as web:
        images = [f"{host}/kmod" for host in (private.host, web.host, "localhost:1", "registry.invalid")]
        with pytest.raises(RegistryError) as caught:
            check_images((ImageRequest(image, insecure=True) for image in images), "Go on without.")
    text = str(caught.value)
    assert f"{private.host} wants a login (403)" in text
    assert f"{web.host} is a web server" in text
    assert "localhost:1 can't be reached: Connection refused" in text
    assert "registry.invalid has a host name that can't be resolved" in text
    assert text.endswith("\nGo on without.")


def test_all_malformed_images_are_named():
    with pytest.raises(RegistryError, match=r"(?s)'quay.io/A' is not an image name.*'quay.io/b:' is not"):
        check_images([ImageRequest("quay.io/b:"), ImageRequest("quay.io/A"), ImageRequest("quay.io/c")])


class TestBasicLogin:
    @staticmethod
    def registry(*accepted):
        def answer(request):
            if request.headers.get("Authorization") in accepted:
                return PING if request.path == "/v2/" else PRESENT
            return Reply(401, {"WWW-Authenticate": 'Basic realm="Registry"'})

        return ScriptedServer(answer)

    def test_the_pull_secret_opens_the_repository(self):
        with self.registry(basic()) as registry:
            assert set(ask(registry.host, "kmod", pull_secret=pull_secret(registry.host)).values()) == {DIGEST}

    def test_without_a_login_the_error_says_how_to_give_one(self):
        with self.registry(basic()) as registry:
            assert re.search(r"wants a login \(401\)[^`]*`imageRepoSecret`", problem(registry.host, "kmod"), re.DOTALL)

    def test_a_secret_without_a_login_for_the_registry_is_named(self):
        with self.registry(basic()) as registry:
            text = problem(registry.host, "kmod", pull_secret=pull_secret("other.example"))
        assert "wants a login (401), and Secret ns/pull gives none for it" in text

    def test_a_wrong_password_is_an_error_that_names_the_secret_and_is_tried_once(self):
        with self.registry(basic("user", "other")) as registry:
            text = problem(registry.host, *(f"kmod:{tag}" for tag in range(50)), pull_secret=pull_secret(registry.host))
        assert "refuses the login of Secret ns/pull (401)" in text
        assert sum("Authorization" in request.headers for request in registry.requests) == 1

    def test_further_candidates_are_tried(self):
        with self.registry(basic("second")) as registry:
            logins = {
                f"{registry.host}/org": {"username": "first", "password": PASSWORD},
                registry.host: {"username": "second", "password": PASSWORD},
            }
            config = DockerConfig.parse(json.dumps({"auths": logins}).encode(), "config.json")
            assert set(ask(registry.host, "org/kmod", pull_secret=config).values()) == {DIGEST}

    def test_the_users_own_login_serves_without_a_pull_secret(self, docker_config):
        with self.registry(basic()) as registry:
            docker_config({"auths": {registry.host: {"username": "user", "password": PASSWORD}}})
            assert set(ask(registry.host, "kmod").values()) == {DIGEST}

    def test_a_broken_docker_config_matters_only_where_a_login_is_wanted(self, docker_config):
        docker_config({"auths": {"x": {"auth": "%%%"}}})
        with self.registry(basic()) as closed, ScriptedServer(lambda request: PRESENT) as public:
            assert set(ask(public.host, "kmod").values()) == {DIGEST}
            assert "config.json: auths['x'].auth" in problem(closed.host, "kmod")

    def test_netrc_does_not_replace_the_login(self, home):
        (home / ".netrc").write_text("machine localhost login other password other\n")
        with self.registry(basic()) as registry:
            assert set(ask(registry.host, "kmod", pull_secret=pull_secret(registry.host)).values()) == {DIGEST}

    def test_the_login_is_not_taken_along_to_another_host(self):
        with ScriptedServer(lambda request: PRESENT) as other:
            port = other.host.rpartition(":")[2]

            def answer(request):
                if "Authorization" not in request.headers:
                    return Reply(401, {"WWW-Authenticate": "Basic realm=x"})
                return Reply(307, {"Location": f"http://127.0.0.1:{port}{request.path}"})

            with ScriptedServer(answer) as registry:
                assert set(ask(registry.host, "kmod", pull_secret=pull_secret(registry.host)).values()) == {DIGEST}
        assert "Authorization" not in other.requests[0].headers

    def test_another_hosts_challenge_gets_no_login(self):
        with self.registry(basic()) as other:
            port = other.host.rpartition(":")[2]
            redirect = Reply(307, {"Location": f"http://127.0.0.1:{port}/v2/kmod/manifests/latest"})
            with ScriptedServer(lambda request: redirect) as registry:
                text = problem(registry.host, "kmod", pull_secret=pull_secret(registry.host))
        assert "redirects to 127.0.0.1, which wants a login" in text
        assert not any("Authorization" in request.headers for request in other.requests)

    def test_an_image_that_only_one_login_sees_is_an_error(self):
        def answer(request):
            if request.path == "/v2/":
                return PING
            return PRESENT if request.headers.get("Authorization") == basic("a") else _hidden(request)

        def _hidden(request):
            return UNKNOWN if "Authorization" in request.headers else Reply(401, {"WWW-Authenticate": "Basic realm=x"})

        with ScriptedServer(answer) as registry:
            requests = [
                ImageRequest(f"{registry.host}/kmod", insecure=True, pull_secret=pull_secret(registry.host, user))
                for user in ("a", "b")
            ]
            with pytest.raises(RegistryError, match="shows it to some logins only"):
                check_images(requests)


class TestTokens:
    """One server is registry and token server; each repository has a token of its own."""

    def server(self, token_reply=None, realm="http://{host}/token"):
        def answer(request):
            url = urlsplit(request.path)
            if url.path == "/token":
                return token_reply(request) if token_reply else self.issue(request)
            repository = url.path.removeprefix("/v2/").partition("/manifests")[0]
            if request.headers.get("Authorization") == f"Bearer for-repository:{repository}:pull":
                return PRESENT
            challenge = (
                f'Bearer realm="{realm.format(host=request.headers["Host"])}",service="reg",'
                f'scope="repository:{repository}:pull"'
            )
            return Reply(401, {"WWW-Authenticate": challenge})

        return ScriptedServer(answer)

    @staticmethod
    def issue(request):
        query = parse_qs(urlsplit(request.path).query)
        assert query["service"] == ["reg"]
        return Reply(200, {}, json.dumps({"token": f"for-{query['scope'][0]}"}).encode())

    def test_a_public_image_needs_no_login(self):
        with self.server() as registry:
            assert set(ask(registry.host, "kmod").values()) == {DIGEST}

    def test_a_repository_asks_for_one_token_however_many_the_tags(self):
        with self.server() as registry:
            ask(registry.host, *(f"{name}:{tag}" for name in ("a", "b") for tag in range(50)))
        assert sum(entry.startswith("GET /token") for entry in registry.asked()) == 2

    def test_the_password_goes_to_the_token_server_only(self):
        with self.server() as registry:
            ask(registry.host, "kmod", pull_secret=pull_secret(registry.host))
        sent = {urlsplit(r.path).path: r.headers.get("Authorization", "") for r in registry.requests}
        assert sent["/token"] == basic()
        assert sent["/v2/kmod/manifests/latest"].startswith("Bearer ")

    def test_an_identity_token_is_exchanged(self):
        def exchange(request):
            form = parse_qs(request.body)
            assert form["grant_type"] == ["refresh_token"]
            assert form["refresh_token"] == ["identity"]
            return Reply(200, {}, json.dumps({"access_token": f"for-{form['scope'][0]}"}).encode())

        with self.server(exchange) as registry:
            secret = pull_secret(registry.host, "0000", "", identitytoken="identity")
            assert set(ask(registry.host, "kmod", pull_secret=secret).values()) == {DIGEST}

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_refused_password_is_named(self, status):
        with self.server(lambda request: Reply(status)) as registry:
            text = problem(registry.host, "kmod", pull_secret=pull_secret(registry.host))
        assert "refuses the login of Secret ns/pull (401)" in text

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            pytest.param(Reply(404), "answers 404", id="404"),
            pytest.param(Reply(429, {"Retry-After": "0"}), "answers 429", id="429"),
            pytest.param(HTML, "can't be used", id="HTML"),
            pytest.param(Reply(200, {}, b"[]"), "can't be used", id="list"),
        ],
    )
    def test_a_broken_token_server_is_an_error_that_names_it(self, reply, expected):
        with self.server(lambda request: reply) as registry:
            text = problem(registry.host, "kmod", pull_secret=pull_secret(registry.host))
        assert f"sends to the token server {registry.host}, which {expected}" in text

    def test_a_challenge_without_a_realm_is_an_error(self):
        with ScriptedServer(lambda request: Reply(401, {"WWW-Authenticate": "Bearer service=x"})) as registry:
            assert "does not say from where" in problem(registry.host, "kmod")

    def test_bearer_is_preferred_where_basic_is_offered_too(self):
        def answer(request):
            if request.path.startswith("/token"):
                return Reply(200, {}, b'{"token":"t"}')
            if request.headers.get("Authorization") == "Bearer t":
                return PRESENT
            host = request.headers["Host"]
            both = f'Basic realm="x", Bearer realm="http://{host}/token",service="s", Basic realm="y"'
            return Reply(401, {"WWW-Authenticate": both})

        with ScriptedServer(answer) as registry:
            assert set(ask(registry.host, "kmod").values()) == {DIGEST}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def tls(authority, name="localhost", **validity):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **validity).configure_cert(context)
    return context


class TestTLS:
    def test_a_custom_authority_is_trusted_by_environment(self, authority, trusted):
        with ScriptedServer(lambda request: PRESENT, tls(authority)) as registry:
            assert set(ask(registry.host, "kmod", insecure=False).values()) == {DIGEST}

    def test_an_unknown_authority_is_an_error_with_the_ways_out(self, authority):
        with ScriptedServer(lambda request: PRESENT, tls(authority)) as registry:
            text = problem(registry.host, "kmod", insecure=False)
        assert "has a certificate that is refused: unable to get local issuer certificate" in text
        assert "SSL_CERT_FILE" in text
        assert "insecureSkipTLSVerify" in text

    @pytest.mark.parametrize(
        ("certificate", "expected"),
        [
            pytest.param({"not_after": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "has expired", id="expired"),
            pytest.param({"name": "other.example.org"}, "Hostname mismatch", id="other host"),
        ],
    )
    def test_a_bad_certificate_is_an_error_even_from_a_trusted_authority(
        self, authority, trusted, certificate, expected
    ):
        with ScriptedServer(lambda request: PRESENT, tls(authority, **certificate)) as registry:
            assert expected in problem(registry.host, "kmod", insecure=False)

    def test_any_certificate_will_do_where_the_module_says_so(self, authority):
        with ScriptedServer(lambda request: PRESENT, tls(authority, "other.example.org")) as registry:
            digests = ask(registry.host, "kmod", insecure=False, skip_tls_verify=True)
        assert set(digests.values()) == {DIGEST}

    def test_plain_http_is_not_tried_unless_the_module_says_so(self):
        with ScriptedServer(lambda request: PRESENT) as registry:
            assert "does not speak TLS" in problem(registry.host, "kmod", insecure=False)
        assert registry.requests == []

    def test_a_password_is_not_sent_to_an_unencrypted_token_server(self, authority, trusted):
        challenge = Reply(401, {"WWW-Authenticate": 'Bearer realm="http://localhost:1/token",service="x"'})
        with ScriptedServer(lambda request: challenge, tls(authority)) as registry:
            text = problem(registry.host, "kmod", insecure=False, pull_secret=pull_secret(registry.host))
        assert "wants the password sent unencrypted to http://localhost:1/token" in text

    def test_a_missing_file_of_authorities_is_named(self, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
        with pytest.raises(RegistryError, match=r"SSL_CERT_FILE names /nonexistent/ca\.pem"):
            check_images([ImageRequest("quay.io/kmod")])


class TestProxy:
    def test_a_proxy_is_used_as_the_environment_says(self, monkeypatch):
        with ScriptedServer(lambda request: PRESENT) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
            assert set(ask("registry.invalid", "kmod").values()) == {DIGEST}
        assert proxy.asked() == ["HEAD http://registry.invalid/v2/kmod/manifests/latest"]

    def test_no_proxy_is_honoured(self, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://localhost:1")
        monkeypatch.setenv("NO_PROXY", "localhost")
        with ScriptedServer(lambda request: PRESENT) as registry:
            assert set(ask(registry.host, "kmod").values()) == {DIGEST}

    def test_a_proxy_that_is_down_is_an_error_about_the_proxy(self, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://localhost:1")
        assert "can't be reached through the proxy" in problem("registry.invalid", "kmod")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without logins, proxies or authorities of their own."""
    for variable in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
                     "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


@pytest.fixture
def docker_config(home):
    """Writes the user's docker configuration."""
    return lambda content: (home / "config.json").write_text(json.dumps(content))
