"""Guards against a check that only fits our own idea of a registry: here it asks the distribution's own."""

import base64
import json
import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from registries import Reply, ScriptedServer

from kmm.docker_config import DockerConfig
from kmm.errors import RegistryError
from kmm.registry import ImageRequest, check_images
from tools.images import Pusher
from tools.registry import Registry

pytestmark = pytest.mark.engine

PASSWORD = "correct horse"
HTPASSWD = "pusher:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n"  # bcrypt of PASSWORD


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(autouse=True)
def home(tmp_path, authority, monkeypatch):
    """A user without logins who trusts the test's authority."""
    for variable in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return tmp_path


def secret(host, username="pusher", password=PASSWORD):
    auths = {host: {"username": username, "password": password}}
    return DockerConfig.parse(json.dumps({"auths": auths}).encode(), "Secret ns/pull")


def test_present_absent_and_multi_architecture_images_are_told_apart(tools, tmp_path):
    with Registry(tmp_path, tools) as registry:
        pusher = Pusher(f"http://{registry.host}", requests.Session())
        image, index = pusher.push_image("org/kmod", "5.14"), pusher.push_index("org/kmod", "multi")
        expected = {
            "org/kmod:5.14": image,
            "org/kmod:multi": index,
            f"org/kmod@{image}": image,
            "org/kmod:6.0": None,
            "org/other:5.14": None,
        }
        asked = [ImageRequest(f"{registry.host}/{name}", insecure=True) for name in expected]
        assert check_images(asked) == {f"{registry.host}/{name}": digest for name, digest in expected.items()}


def with_tls(folder, authority, **validity):
    """Settings of a registry that speaks TLS."""
    certificate = authority.issue_cert("127.0.0.1", **validity)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    return {"http": {"tls": {"certificate": str(folder / "tls.pem"), "key": str(folder / "tls.pem")}}}


def test_an_expired_certificate_is_an_error(tools, tmp_path, authority):
    settings = with_tls(tmp_path, authority, not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with (
        Registry(tmp_path, tools, settings) as registry,
        pytest.raises(RegistryError, match="has a certificate that is refused: certificate has expired"),
    ):
        check_images([ImageRequest(f"{registry.host}/kmod:1")])


@pytest.fixture
def private_registry(tools, tmp_path, authority):
    """A registry with TLS and a password; holds `kmod:1`."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with Registry(tmp_path, tools, with_tls(tmp_path, authority) | {"auth": auth}) as registry:
        with requests.Session() as session:
            session.auth = ("pusher", PASSWORD)
            session.trust_env = False  # else a CA of the environment would win
            session.verify = str(tmp_path / "ca.pem")
            Pusher(f"https://{registry.host}", session).push_image("kmod", "1")
        yield registry


def test_a_password_opens_a_private_registry(private_registry):
    login = secret(private_registry.host)
    names = [f"{private_registry.host}/kmod:{tag}" for tag in (1, 2)]
    digests = check_images(ImageRequest(name, pull_secret=login) for name in names)
    assert digests[names[0]].startswith("sha256:")
    assert digests[names[1]] is None


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        pytest.param({}, r"wants a login \(401\)", id="none"),
        pytest.param({"password": "wrong"}, r"refuses the login of Secret ns/pull \(401\)", id="wrong password"),
        pytest.param({"username": "nobody"}, r"refuses the login of Secret ns/pull \(401\)", id="unknown user"),
    ],
)
def test_a_private_registry_without_the_right_login_is_an_error(private_registry, login, problem):
    pull_secret = secret(private_registry.host, **login) if login else None
    with pytest.raises(RegistryError, match=problem):
        check_images([ImageRequest(f"{private_registry.host}/kmod:1", pull_secret=pull_secret)])


def test_plain_http_to_a_registry_with_tls_says_so(private_registry):
    with pytest.raises(RegistryError, match="answers 400 Bad Request to plain HTTP"):
        check_images([ImageRequest(f"{private_registry.host}/kmod:1", insecure=True)])


class TokenServer:
    """Gives `pusher` all it asks for, and everybody `pull` of `public`.

    Signed as in distribution.github.io/distribution/spec/auth/jwt.
    """

    def __init__(self, authority):
        self._leaf = authority.issue_cert("token-server")
        self._key = serialization.load_pem_private_key(self._leaf.private_key_pem.bytes(), None)

    def answer(self, request):
        query = parse_qs(urlsplit(request.path).query)
        login = request.headers.get("Authorization")
        known = login == "Basic " + base64.b64encode(f"pusher:{PASSWORD}".encode()).decode()
        if login and not known:
            return Reply(401)
        kind, name, actions = query["scope"][0].split(":")
        granted = actions.split(",") if known else ["pull"] if name == "public" else []
        access = [{"type": kind, "name": name, "actions": granted}]
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"token": self._sign(access)}).encode())

    def _sign(self, access):
        now = int(time.time())
        certificate = x509.load_pem_x509_certificate(self._leaf.cert_chain_pems[0].bytes())
        der = certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "issuer", "sub": "", "aud": "service", "nbf": now - 60, "iat": now, "exp": now + 300}
        text = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims | {"access": access}))
        r, s = utils.decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        return (text + b"." + _base64url(r.to_bytes(32) + s.to_bytes(32))).decode()


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.fixture
def token_registry(tools, tmp_path, authority):
    """A registry that trusts a token server; holds `public:1` and `private:1`."""
    with ScriptedServer(TokenServer(authority).answer) as token_server:
        token = {
            "realm": f"http://{token_server.host}/token",
            "service": "service",
            "issuer": "issuer",
            "rootcertbundle": str(tmp_path / "ca.pem"),
        }
        with Registry(tmp_path, tools, {"auth": {"token": token}}) as registry, requests.Session() as session:
            for name in ("public", "private"):
                scope = {"service": "service", "scope": f"repository:{name}:pull,push"}
                answer = session.get(token["realm"], params=scope, auth=("pusher", PASSWORD))
                session.headers["Authorization"] = "Bearer " + answer.json()["token"]
                Pusher(f"http://{registry.host}", session).push_image(name, "1")
            yield registry


def test_a_token_opens_what_its_login_may_see(token_registry):
    names = [f"{token_registry.host}/{name}" for name in ("public:1", "private:1", "private:2")]
    login = secret(token_registry.host)
    digests = check_images(ImageRequest(name, insecure=True, pull_secret=login) for name in names)
    assert [digests[name] is not None for name in names] == [True, True, False]


def test_without_a_login_a_token_opens_what_is_public(token_registry):
    public = f"{token_registry.host}/public:1"
    assert check_images([ImageRequest(public, insecure=True)])[public] is not None


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        pytest.param({}, r"wants a login \(401\)", id="none"),
        pytest.param({"password": "wrong"}, r"refuses the login of Secret ns/pull \(401\)", id="wrong password"),
    ],
)
@pytest.mark.parametrize("image", ["private:1", "private:2", "nothing:1"])
def test_what_a_token_does_not_open_is_an_error_whether_it_exists_or_not(token_registry, image, login, problem):
    pull_secret = secret(token_registry.host, **login) if login else None
    with pytest.raises(RegistryError, match=problem):
        check_images([ImageRequest(f"{token_registry.host}/{image}", insecure=True, pull_secret=pull_secret)])
