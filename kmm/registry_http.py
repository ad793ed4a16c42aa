"""HTTP as registries speak it: time limits, retries, proxies, TLS roots and tokens.

Tokens are asked for by `oras`, over a session of ours: its own requests know no time limit and repeat every error
for two minutes.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
from oras.auth import get_auth_backend
from oras.auth.utils import authHeader, get_basic_auth, parse_auth_header
from requests.adapters import HTTPAdapter
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning
from urllib3.util import Retry

from kmm.docker_config import Credential
from kmm.errors import RegistryError
from kmm.registry_errors import HostError, connection_error

TIMEOUT: tuple[float, float] = (5.0, 20.0)  # seconds to connect, and between two reads
REFUSED: Final = (401, 403)
_REFUSED_TOKEN: Final = (400, *REFUSED)  # 400: RFC 6749, section 5.2
_USER_AGENT: Final = "kmm"
_MAX_PING: Final = 1024 * 1024  # bytes
_RETRY_STATUS: Final = (429, 500, 502, 503, 504)
_HOST_WIDE_STATUS: Final = (429, 502, 503, 504)  # while 500 may be about one broken manifest
_RETRIES: Final = Retry(
    total=4,
    connect=2,
    read=1,
    status=3,
    other=0,  # TLS errors stay
    backoff_factor=0.25,
    status_forcelist=_RETRY_STATUS,
    raise_on_status=False,
    retry_after_max=20,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `host` is who gave it, after redirects."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    host: str | None


class Connections:
    """Connections to registries and token servers, shared by threads. A context manager."""

    def __init__(self, workers: int) -> None:
        adapter = HTTPAdapter(max_retries=_RETRIES, pool_maxsize=workers)
        self.registries = _Session(adapter)
        self.token_servers = _Session(adapter)
        self.token_servers.hooks["response"].append(_require_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.registries.close()
        self.token_servers.close()


class RegistryHost:
    """One registry, as a Module says to reach it.

    Once it can't be reached, that error stands for all further requests: hundreds of images would each wait out
    the time limits.
    """

    def __init__(
        self, connections: Connections, host: str, *, insecure: bool = False, skip_tls_verify: bool = False
    ) -> None:
        self.plain_http = insecure
        self._connections = connections
        self._url = f"{'http' if insecure else 'https'}://{host}/v2/"
        self._verify = False if skip_tls_verify else _trusted_roots()
        self._unreachable: HostError | None = None
        if skip_tls_verify:
            disable_warnings(InsecureRequestWarning)

    def send(self, method: str, path: str, headers: Mapping[str, str], limit: int) -> Answer:
        """The answer for `path` below `/v2/`; a body of more than `limit` bytes is a HostError."""
        with self.open(method, path, headers) as response:
            host = urlsplit(response.url).hostname
            body = _read(response, limit)
            return Answer(response.status_code, response.reason, response.headers, body, host)

    @contextmanager
    def open(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """The answer for `path` below `/v2/`, whose body the caller reads, as far as it wants to."""
        with (
            self._contact(),
            self._connections.registries.request(
                method, self._url + path, headers=dict(headers), stream=True, verify=self._verify
            ) as response,
        ):
            if response.status_code in _HOST_WIDE_STATUS:
                response.raise_for_status()
            yield response

    def authorization(self, answer: Answer, credential: Credential | None) -> str | None:
        """The `Authorization` header that `answer` (a 401 or 403) calls for; None if the credential is refused.

        Raises HostError when the challenge can't be answered without giving the password away.
        """
        scheme, challenge = _challenge(answer.headers.get("WWW-Authenticate", ""))
        if answer.host != urlsplit(self._url).hostname:
            raise HostError(f"redirects to {answer.host}, which wants a login", "name that registry in the image")
        if scheme == "basic":
            return _basic(credential)
        if scheme == "bearer":
            return self._bearer(challenge, credential)
        return None

    def is_registry(self, answer: Answer) -> bool:
        """Whether `answer` comes from a registry: a mere web server says 404 to everything, too."""
        return "Docker-Distribution-Api-Version" in answer.headers or self._has_registry_api

    @cached_property
    def _has_registry_api(self) -> bool:
        answer = self.send("GET", "", {}, _MAX_PING)
        return answer.status in (200, *REFUSED) and "html" not in answer.headers.get("Content-Type", "")

    def _bearer(self, challenge: str, credential: Credential | None) -> str | None:
        wanted = parse_auth_header(challenge)
        if not wanted.realm:
            raise HostError("wants a token but does not say from where", "report it to who runs the registry")
        if credential and not self.plain_http and wanted.realm.startswith("http://"):
            raise HostError(
                f"wants the password sent unencrypted to {wanted.realm}", "report it to who runs the registry"
            )
        with self._contact(f"sends to the token server {urlsplit(wanted.realm).netloc}, which "):
            try:
                token = self._token(wanted, credential)
            except requests.HTTPError as error:
                if error.response is not None and error.response.status_code in _REFUSED_TOKEN:
                    return None
                raise
        return token and f"Bearer {token}"

    def _token(self, wanted: authHeader, credential: Credential | None) -> str | None:
        if credential and credential.identity_token:
            return self._token_for_identity(wanted, credential.identity_token)
        backend = get_auth_backend(
            "token",
            session=self._connections.token_servers,
            insecure=self.plain_http,
            tls_verify=self._verify,
        )
        if credential:
            backend.set_basic_auth(credential.username, credential.password)
        token: str | None = backend.request_token(wanted)
        return token

    def _token_for_identity(self, wanted: authHeader, identity_token: str) -> str | None:
        """OAuth2 as in distribution.github.io/distribution/spec/auth/oauth, which oras does not have."""
        form = {"grant_type": "refresh_token", "refresh_token": identity_token, "client_id": _USER_AGENT}
        form |= {"service": wanted.service, "scope": wanted.scope}
        answer = self._connections.token_servers.post(wanted.realm, data=form, verify=self._verify)
        token: str | None = answer.json().get("access_token")
        return token

    @contextmanager
    def _contact(self, through: str = "") -> Iterator[None]:
        if self._unreachable is not None:
            raise HostError(*self._unreachable.args)
        try:
            yield
        except (requests.RequestException, HTTPError, OSError) as error:
            unreachable = connection_error(error)
            self._unreachable = HostError(through + unreachable.problem, unreachable.remedy)
            raise self._unreachable from error


class _Session(requests.Session):
    """A session for programs rather than browsers; gives each request a time limit, also those that oras makes."""

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.max_redirects = 5
        self.headers["User-Agent"] = _USER_AGENT
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # Harbor takes a cookie for a browser
        self.auth = lambda request: request  # else ~/.netrc would replace our Authorization header

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - theirs
        return super().send(request, **kwargs | {"timeout": kwargs.get("timeout") or TIMEOUT})


def _basic(credential: Credential | None) -> str | None:
    if credential is None or not credential.username:
        return None
    return f"Basic {get_basic_auth(credential.username, credential.password)}"


def _require_token(response: requests.Response, **_options: object) -> None:
    """Fail on what oras would take for "no token": errors, and bodies that are no JSON object."""
    if response.is_redirect:
        return
    _ = response.content  # read, so that the connection goes back into the pool when this raises
    response.raise_for_status()
    if not isinstance(response.json(), dict):
        raise requests.exceptions.InvalidJSONError("the answer is no JSON object")


def _trusted_roots() -> str | bool:
    """The CA file or folder for TLS: by environment, else the system's, else (True) that of `certifi`."""
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(variable):
            if not Path(path).exists():
                raise RegistryError(f"{variable} names {path}, which does not exist; correct or unset it")
            return path
    system = ssl.get_default_verify_paths()
    if system.cafile:
        return system.cafile
    hashed = system.capath and next(Path(system.capath).glob("*.0"), None)
    return str(system.capath) if hashed else True


def _challenge(header: str) -> tuple[str, str]:
    """The scheme (lower case) and text of the challenge to answer: Bearer rather than Basic, if both are offered."""
    offered = re.split(r",\s*(?=[A-Za-z]+\s+[A-Za-z]+=)", header)
    challenges = {challenge.partition(" ")[0].lower(): challenge for challenge in offered}
    scheme = next((scheme for scheme in ("bearer", "basic") if scheme in challenges), "")
    return scheme, challenges.get(scheme, "")


def _read(response: requests.Response, limit: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > limit:
            raise HostError(f"gives an answer of more than {limit} bytes", "check that a registry runs there")
    return bytes(body)
