"""Guards against a read that fails being taken for an empty answer, and against reading another cluster than kubectl.

A loopback server plays API servers and proxies that misbehave; `tests/engine/test_cluster_reads.py` has a real one.
"""

import json
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
import yaml

from kmm.cluster import connect, connection, require_identity
from kmm.errors import ClusterError
from kmm.nodes import LabelChange
from tests.test_nodes import wire_list, wire_node

JSON = "application/json"
CLOSED = "http://127.0.0.1:1"  # nothing listens there


@dataclass(frozen=True)
class Answer:
    body: object = field(default_factory=wire_list)
    status: int = 200
    headers: dict = field(default_factory=lambda: {"Content-Type": JSON})
    cut: bool = False  # end the connection in the middle of the body
    until: int = 0  # so many requests must have come before the second half of the body is sent, or it is cut there


def page(*names, token="", **fields):
    return Answer(wire_list(*map(wire_node, names), kind="NodeList", **{"continue": token}), **fields)


def refusal(status, message="no", **headers):
    return Answer({"kind": "Status", "message": message}, status, {"Content-Type": JSON, **headers})


class FakeApi:
    """Gives its answers one after the other, the last one for ever; remembers the requests.

    `answers` may also be such lists by continue token.
    """

    def __init__(self, tls=None):
        self.answers = []
        self.requests = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self):
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.requests.append((self.command, self.path, self.headers, content))
                answers = api.answers
                if isinstance(answers, dict):
                    answers = answers["".join(api.queries()[-1].get("continue", []))]
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = not api.was_asked(answer.until) or answer.cut
                if not self.close_connection:
                    self.wfile.write(body[len(body) // 2 :])

            do_GET = do_PATCH = reply  # noqa: N815 - the names http.server looks for

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # clients that refuse our certificate

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def was_asked(self, times):
        deadline = time.monotonic() + 60
        while len(self.requests) < times and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(self.requests) >= times

    def queries(self):
        return [parse_qs(urlsplit(path).query) for _, path, _, _ in self.requests]


@pytest.fixture(autouse=True)
def no_cluster_of_this_machine(monkeypatch, tmp_path):
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def pauses(monkeypatch):
    """The seconds between attempts, without waiting for them."""
    seconds = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def api(pauses):
    with FakeApi() as server:
        yield server


@pytest.fixture
def write(tmp_path):
    def write(name="config", server=CLOSED, context="main", user=None, cluster=None, **changes):
        """A kubeconfig with one context; the cluster and the user carry its name."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "clusters": [{"name": context, "cluster": {"server": server, **(cluster or {})}}],
            "users": [{"name": context, "user": {"token": "secret"} if user is None else user}],
        }
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document | changes))
        return str(path)

    return write


@pytest.fixture
def cluster(api, write):
    return connect(write(server=api.url))


def plugin(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "interactiveMode": "Never"}}


class TestListing:
    def test_all_pages_are_read(self, api, cluster):
        api.answers = [page("b", token="2"), page("a", token="3"), page("c")]
        assert [node.name for node in cluster.nodes()] == ["a", "b", "c"]
        assert api.queries() == [
            {"limit": ["500"]},
            {"limit": ["500"], "continue": ["2"]},
            {"limit": ["500"], "continue": ["3"]},
        ]

    def test_the_next_page_is_asked_for_while_one_is_on_its_way(self, api, cluster):
        api.answers = [page("a", token="2", until=2), page("b", token="3", until=3), page("c")]
        assert [node.name for node in cluster.nodes()] == ["a", "b", "c"]
        assert len(api.requests) == 3

    def test_a_page_fetched_again_is_followed_by_its_own_next_one(self, api, cluster):
        first = [page("a", token="old", until=2, cut=True), page("a", token="new")]
        api.answers = {"": first, "old": [page("gone")], "new": [page("b")]}
        assert [node.name for node in cluster.nodes()] == ["a", "b"]
        assert len(api.requests) == 4

    def test_a_refusal_that_is_cut_is_asked_for_again(self, api, cluster):
        cut = Answer({"kind": "Status", "message": "no" * 9999}, 403, cut=True)
        api.answers = [cut, refusal(403, "none of your business")]
        with pytest.raises(ClusterError, match="403: none of your business"):
            cluster.nodes()

    def test_a_list_whose_token_expired_starts_again_from_nothing(self, api, cluster):
        api.answers = [page("a", token="2"), refusal(410), page("b", token="2"), page("c")]
        assert [node.name for node in cluster.nodes()] == ["b", "c"]

    def test_a_list_that_always_expires_is_an_error(self, api, cluster):
        api.answers = [page("a", token="2"), refusal(410)] * 3
        with pytest.raises(ClusterError, match="faster than it could be read, 3 times"):
            cluster.nodes()
        assert len(api.requests) == 6

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            pytest.param(refusal(500, "etcd is sad"), "500: etcd is sad", id="error 500 to the end"),
            pytest.param(Answer(b"<html>Log in</html>", headers={"Content-Type": "text/html"}), "Log in", id="HTML"),
            pytest.param(Answer(b"{", headers={"Content-Type": JSON}), "not JSON", id="broken JSON"),
            pytest.param(Answer({"kind": "Status"}), "got kind 'Status'", id="another kind"),
            pytest.param(Answer({"kind": "NodeList"}), "items: Field required", id="no items"),
            pytest.param(Answer(b"", 302, {"Location": "/login"}), "302: empty answer", id="redirect"),
            pytest.param(Answer(wire_list(wire_node("b")), cut=True), "GET", id="always cut"),
        ],
    )
    def test_a_page_that_fails_is_no_shorter_list(self, api, cluster, second, message):
        api.answers = [page("a", token="2"), second]
        with pytest.raises(ClusterError, match=message) as error:
            cluster.nodes()
        assert api.url in str(error.value) or "context 'main'" in str(error.value)

    @pytest.mark.parametrize(
        "bad",
        [
            *(pytest.param(refusal(status), id=str(status)) for status in (429, 500, 502, 503, 504)),
            pytest.param(Answer(wire_list(), cut=True), id="cut connection"),
        ],
    )
    def test_a_passing_failure_is_tried_again(self, api, cluster, bad):
        api.answers = [page("a", token="2"), bad, bad, page("b")]
        assert [node.name for node in cluster.nodes()] == ["a", "b"]

    def test_the_server_says_how_long_to_wait_within_reason(self, api, cluster, pauses):
        api.answers = [refusal(429, **{"Retry-After": "7"}), refusal(503, **{"Retry-After": "9999"}), page("a")]
        cluster.nodes()
        assert pauses == [7, 30]


class TestIdentity:
    def test_it_is_the_uid_of_kube_system(self, api, cluster):
        api.answers = [Answer({"kind": "Namespace", "metadata": {"uid": "abc"}})]
        assert cluster.identity() == "abc"
        require_identity(cluster, "abc")
        with pytest.raises(ClusterError, match="wrong cluster"):
            require_identity(cluster, "def")

    @pytest.mark.parametrize("body", [{}, {"metadata": {"uid": ""}}, []], ids=["empty", "empty uid", "a list"])
    def test_an_answer_without_uid_is_an_error(self, api, cluster, body):
        api.answers = [Answer(body)]
        with pytest.raises(ClusterError, match="kube-system has no uid"):
            cluster.identity()


class TestNamespaces:
    @pytest.mark.parametrize(("status", "lacks"), [(200, False), (404, True), (403, False)])
    def test_only_one_that_is_known_not_to_be_there_is_missing(self, api, cluster, status, lacks):
        api.answers = [refusal(status)]
        assert cluster.lacks_namespace("drivers") is lacks
        assert api.requests[0][1] == "/api/v1/namespaces/drivers"


class TestLabels:
    def test_a_change_without_uid_is_never_sent(self, api, cluster):
        with pytest.raises(ValueError, match="without its uid"):
            cluster.apply_node_labels([LabelChange("a", "", {})], "kmm")
        assert api.requests == []

    def test_what_is_refused_on_a_node_that_is_there_is_an_error(self, api, cluster):
        api.answers = [refusal(422, "no such label"), page("a")]
        with pytest.raises(ClusterError, match="a: PATCH /api/v1/nodes/a: 422: no such label"):
            cluster.apply_node_labels([LabelChange("a", "uid-a", {})], "kmm")

    @pytest.mark.parametrize("found", [page(), page("a")], ids=["gone", "another of this name"])
    def test_what_is_refused_on_a_node_that_is_gone_is_no_error(self, api, cluster, found):
        api.answers = [refusal(409), found]
        assert cluster.apply_node_labels([LabelChange("a", "uid-of-old", {})], "kmm") == ("a",)

    def test_every_node_is_tried_and_all_failures_are_told(self, api, cluster):
        api.answers = [refusal(500)]
        changes = [LabelChange(f"n{i}", f"uid-{i}", {}) for i in range(30)]
        with pytest.raises(ClusterError, match=r"(?s)30 of 30 nodes.*and 10 more") as error:
            cluster.apply_node_labels((change for change in changes), "kmm")
        assert str(error.value).count(": PATCH /api/v1/nodes/n") == 20


class TestRefusals:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            pytest.param(refusal(401, "Unauthorized"), "401: Unauthorized; .* log in again", id="401"),
            pytest.param(
                refusal(403, "User x cannot list nodes"), "cannot list nodes; give this user the verb", id="403"
            ),
            pytest.param(Answer(b"Bad\n gateway", 400, {}), "400: Bad gateway", id="no Status"),
        ],
    )
    def test_the_server_s_words_come_with_the_place_and_the_remedy(self, api, cluster, answer, message):
        api.answers = [answer]
        with pytest.raises(ClusterError, match=message) as error:
            cluster.nodes()
        assert f"({api.url}, context 'main' of " in str(error.value)

    def test_a_refused_connection_says_so(self, write, pauses):
        with pytest.raises(ClusterError, match=r"connection refused.*http://127\.0\.0\.1:1, context 'main'"):
            connect(write()).nodes()

    def test_an_unknown_host_says_so(self, write, pauses):
        with pytest.raises(ClusterError, match="name is not known"):
            connect(write(server="http://api.invalid")).nodes()

    def test_silence_ends(self, api, write, monkeypatch):
        monkeypatch.setattr(connection, "_READ_SECONDS", 0.05)
        release = threading.Event()
        api.answers = Delayed(release)
        try:
            with pytest.raises(ClusterError, match="no answer within"):
                connect(write(server=api.url)).nodes()
        finally:
            release.set()

    def test_ctrl_c_waits_for_no_answer(self, api, write):
        release = threading.Event()
        api.answers = Delayed(release)
        command = [sys.executable, "-m", "kmm", "status", "--kubeconfig", write(server=api.url)]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert api.was_asked(1)
            run.send_signal(signal.SIGINT)
            output, _ = run.communicate(timeout=20)
        finally:
            release.set()
            run.kill()
        assert "Traceback" not in output


class Delayed(list):
    """Answers that come only after `release`."""

    def __init__(self, release):
        super().__init__([page("a")])
        self.release = release

    def __getitem__(self, index):
        self.release.wait(60)
        return super().__getitem__(index)


class TestWhichCluster:
    def test_the_explicit_path_wins(self, api, write, monkeypatch):
        monkeypatch.setenv("KUBECONFIG", write("other"))
        api.answers = [page("a")]
        path = write("mine", server=api.url)
        cluster = connect(path)
        assert [node.name for node in cluster.nodes()] == ["a"]
        assert cluster.provider_arguments() == {"kubeconfig": path, "context": "main"}

    @pytest.mark.parametrize("path", ["~/mine", "mine"], ids=["home", "current folder"])
    def test_a_path_may_begin_at_home_or_here(self, write, monkeypatch, tmp_path, path):
        write("mine")
        monkeypatch.chdir(tmp_path)
        assert connect(path).provider_arguments()["kubeconfig"] == str(tmp_path / "mine")

    def test_several_files_are_merged_as_kubectl_does(self, api, write, monkeypatch, tmp_path):
        api.answers = [page("a")]
        first = write("first", context="one", server=api.url, user={"token": "first"})
        second = write("second", context="two")
        third = write("third", context="one", user={"token": "third"})  # same names: the first file wins
        files = [str(tmp_path / "missing"), first, second, third]
        monkeypatch.setenv("KUBECONFIG", ":".join(files))
        cluster = connect()
        cluster.nodes()
        assert api.requests[0][2]["Authorization"] == "Bearer first"
        assert cluster.provider_arguments() == {"kubeconfig": "", "context": "one"}
        assert connect(None, "two").provider_arguments() == {"kubeconfig": "", "context": "two"}

    def test_an_empty_file_among_several_is_skipped(self, write, monkeypatch, tmp_path):
        (tmp_path / "empty").touch()
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'empty'}:{write()}")
        assert connect().provider_arguments() == {"kubeconfig": "", "context": "main"}

    def test_the_default_file_is_the_home_s(self, write):
        write(".kube/config", context="home")
        assert connect().provider_arguments() == {"kubeconfig": "", "context": "home"}

    def test_in_a_pod_the_service_account_is_used(self, api, monkeypatch, tmp_path):
        (tmp_path / "token").write_text("of the pod")
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
        cluster = connect()
        assert cluster.provider_arguments() == {"kubeconfig": "", "context": ""}
        with pytest.raises(ClusterError, match=r"https://127\.0\.0\.1:1, this pod's own cluster"):
            cluster.nodes()
        with pytest.raises(ClusterError, match="context 'x' needs a kubeconfig"):
            connect(None, "x")

    def test_in_a_pod_without_a_token_the_error_says_so(self, monkeypatch):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
        with pytest.raises(ClusterError, match="token file does not exist"):
            connect()

    def test_no_kubeconfig_anywhere_lists_where_it_was_looked_for(self):
        with pytest.raises(
            ClusterError, match=r"kmm:kubeconfig and KUBECONFIG are not set.*~/\.kube/config.*not a pod"
        ):
            connect()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param("a: [\n", "not YAML: line 2", id="no YAML"),
            pytest.param("just text", "not a kubeconfig: it holds no mapping", id="a text"),
            pytest.param("contexts: 3", "not a kubeconfig: contexts", id="wrong type"),
            pytest.param("", "no current context.*no contexts at all", id="empty"),
            pytest.param("token: s3cret: x", "^(?!.*s3cret)", id="credentials are not shown"),
        ],
    )
    def test_a_file_that_is_no_kubeconfig_is_named(self, tmp_path, content, message):
        path = tmp_path / "mine"
        path.write_text(content)
        with pytest.raises(ClusterError, match=message) as error:
            connect(str(path))
        assert str(path) in str(error.value)

    def test_a_missing_file_is_named(self, tmp_path, monkeypatch):
        with pytest.raises(ClusterError, match="nowhere: no such file"):
            connect(str(tmp_path / "nowhere"))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
        with pytest.raises(ClusterError, match=r"KUBECONFIG names .*gone"):
            connect()

    @pytest.mark.parametrize("content", ["users:\n- token: secret\n", '{"token": "secret"}'], ids=["YAML", "JSON"])
    def test_content_instead_of_a_path_is_told_apart(self, content):
        with pytest.raises(ClusterError, match="the path of a file, not its content") as error:
            connect(content)
        assert "secret" not in str(error.value)

    def test_an_unknown_context_lists_the_known_ones(self, write):
        with pytest.raises(ClusterError, match=r"no context 'prod' in .*; known contexts: main"):
            connect(write(), "prod")

    def test_no_current_context_lists_the_known_ones(self, write):
        path = write(**{"current-context": ""})
        with pytest.raises(ClusterError, match=r"no current context in .*set kmm:context; known contexts: main"):
            connect(path)

    def test_a_context_whose_cluster_is_missing_is_an_error(self, write):
        with pytest.raises(ClusterError, match="names the cluster 'main', which is not there"):
            connect(write(clusters=[]))

    def test_a_missing_certificate_file_is_an_error(self, write):
        with pytest.raises(ClusterError, match=r"can't be used: File does not exist: .*ca\.crt"):
            connect(write(server="https://127.0.0.1:1", cluster={"certificate-authority": "/nowhere/ca.crt"}))


class TestCredentials:
    def test_an_exec_plugin_gives_the_token(self, api, write, tmp_path):
        api.answers = [page("a")]
        credential = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": "from plugin"},
        }
        user = plugin(tmp_path / "plugin", f"echo '{json.dumps(credential)}'")
        connect(write(server=api.url, user=user)).nodes()
        assert api.requests[0][2]["Authorization"] == "Bearer from plugin"

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            pytest.param("echo 'session expired, run login' >&2; exit 3", "session expired, run login", id="fails"),
            pytest.param("echo hello", "failed to decode process output", id="says nonsense"),
        ],
    )
    def test_a_failing_exec_plugin_is_an_error_with_its_words(self, write, tmp_path, script, message):
        with pytest.raises(ClusterError, match=f"no credentials for context 'main'.*{message}"):
            connect(write(user=plugin(tmp_path / "plugin", script)))

    def test_a_missing_exec_plugin_is_an_error_with_its_name(self, write, tmp_path):
        user = plugin(tmp_path / "plugin", "")
        user["exec"]["command"] = "no-such-plugin"
        with pytest.raises(ClusterError, match="No such file or directory: 'no-such-plugin'"):
            connect(write(user=user))

    def test_a_password_is_sent_as_basic_authentication(self, api, write):
        api.answers = [page("a")]
        connect(write(server=api.url, user={"username": "u", "password": "p"})).nodes()
        assert api.requests[0][2]["Authorization"] == "Basic dTpw"


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        return authority

    @pytest.fixture
    def secure_api(self, authority, pauses):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with FakeApi(context) as server:
            server.answers = [page("a")]
            yield server

    def test_a_custom_authority_is_trusted_from_a_path_beside_the_kubeconfig(self, secure_api, write):
        cluster = connect(write(server=secure_api.url, cluster={"certificate-authority": "ca.pem"}))
        assert len(cluster.nodes()) == 1

    def test_an_unknown_authority_is_an_error_that_names_the_setting(self, secure_api, write):
        with pytest.raises(ClusterError, match=r"TLS failed: .*CERTIFICATE_VERIFY_FAILED.*certificate-authority"):
            connect(write(server=secure_api.url)).nodes()

    def test_verification_can_be_switched_off_without_noise(self, secure_api, write):
        cluster = connect(write(server=secure_api.url, cluster={"insecure-skip-tls-verify": True}))
        assert len(cluster.nodes()) == 1


class TestProxies:
    def test_proxy_url_is_used_whatever_no_proxy_says(self, api, write, monkeypatch):
        monkeypatch.setenv("NO_PROXY", "api.invalid")
        api.answers = [page("a")]
        connect(write(server="http://api.invalid", cluster={"proxy-url": api.url})).nodes()
        assert api.requests[0][1].startswith("http://api.invalid/api/v1/nodes")

    def test_the_environment_s_proxy_is_used(self, api, write, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", api.url)
        api.answers = [page("a")]
        connect(write(server="http://api.invalid")).nodes()
        assert api.requests[0][1].startswith("http://api.invalid/api/v1/nodes")

    def test_the_environment_s_proxy_has_exceptions(self, api, write, monkeypatch, pauses):
        monkeypatch.setenv("HTTP_PROXY", api.url)
        monkeypatch.setenv("NO_PROXY", ".invalid")
        with pytest.raises(ClusterError, match="name is not known"):
            connect(write(server="http://api.invalid")).nodes()
        assert api.requests == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_loopback_is_never_reached_through_the_environment_s_proxy(self, api, write, monkeypatch, host):
        monkeypatch.setenv("HTTP_PROXY", CLOSED)
        api.answers = [page("a")]
        assert len(connect(write(server=api.url.replace("127.0.0.1", host))).nodes()) == 1

    def test_a_proxy_that_does_not_answer_is_named_as_the_cause(self, write, pauses):
        with pytest.raises(ClusterError, match=r"the proxy fails: .*; see proxy-url"):
            connect(write(server="http://api.invalid", cluster={"proxy-url": CLOSED})).nodes()
