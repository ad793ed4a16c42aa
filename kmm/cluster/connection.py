"""HTTP to one API server, with answers as raw bytes and errors that say what to do.

The official client finds what a kubeconfig hides: credentials, exec plugins, CAs, proxies. Its API objects are left
out, and urllib3 repeats what is worth it.
"""

import ipaddress
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlencode, urlsplit

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3 import exceptions as http

from kmm.cluster.kubeconfig import Access
from kmm.errors import ClusterError

CONNECTIONS: Final = 16
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60  # without a byte; a slow page may take longer as a whole
_BEGINNING: Final = 1 << 16  # bytes at most
_SHOWN: Final = 300  # characters of an answer that is no Kubernetes Status

# Every request here may be repeated: reads, and server-side apply. Some 10 s in all, unless the server asks for more.
_RETRY: Final = Retry(
    total=5,
    connect=1,
    read=2,
    other=0,
    allowed_methods=None,
    status_forcelist={429, 500, 502, 503, 504},
    backoff_factor=0.2,
    retry_after_max=30,
    raise_on_status=False,
)

# The first that fits; `{}` is urllib3's error.
_CAUSES: Final[tuple[tuple[type[http.HTTPError], str], ...]] = (
    (http.ProxyError, "the proxy fails: {}; see proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY"),
    (http.SSLError, "TLS failed: {}; does certificate-authority in the kubeconfig belong to this server?"),
    (http.NameResolutionError, "the server's name is not known; is the address right, is a VPN or proxy missing?"),
    (http.NewConnectionError, "connection refused or no route; is the cluster running, is the address right?"),
    (http.ConnectTimeoutError, f"no connection within {_CONNECT_SECONDS} s; is a firewall, VPN or proxy in the way?"),
    (http.ReadTimeoutError, f"no answer within {_READ_SECONDS} s; is the API server overloaded?"),
)


class ApiStatusError(ClusterError):
    """The API server refused a request, with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """Sends requests to one API server; safe to share among threads."""

    def __init__(self, client: ApiClient, access: Access) -> None:
        self._client = client
        self._server = client.configuration.host
        self._place = f"{self._server}, {access}"

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> bytes:
        """The JSON at `path`. Raises ApiStatusError if the server refuses, else ClusterError."""
        return self._request("GET", path, query or {})

    def get_page(self, path: str, query: Mapping[str, str | int], on_beginning: Callable[[bytes], None]) -> bytes:
        """As `get`; `on_beginning` is called with the first bytes, while the rest is on its way."""
        try:
            response = self._answer("GET", path, query, preload=False)
            beginning = response.read1(_BEGINNING)
            on_beginning(beginning)
            return beginning + response.read()
        except http.HTTPError:  # cut halfway
            return self.get(path, query)

    def text(self, path: str, query: Mapping[str, str | int]) -> str:
        """The plain text at `path`, such as a log. Raises as `get` does."""
        response = self._send("GET", f"{path}?{urlencode(query)}", None)
        if response.status >= 300:
            raise ApiStatusError(response.status, self._refusal("GET", path, response))
        return response.data.decode(errors="replace")

    def apply(self, path: str, document: object, field_manager: str) -> None:
        """Server-side apply of `document`, taking over fields that others own. Raises as `get` does."""
        query = {"fieldManager": field_manager, "force": "true"}
        self._request("PATCH", path, query, json.dumps(document).encode())

    def delete(self, path: str, propagation: str = "Foreground") -> None:
        """Delete what is at `path`; nothing to do if it is not there. Raises as `get` does.

        `propagation`: `Foreground`, its dependents first, or `Background`, itself first.
        """
        try:
            self._request("DELETE", path, {"propagationPolicy": propagation})
        except ApiStatusError as error:
            if error.status != 404:
                raise

    def watch(self, path: str, query: Mapping[str, str | int], seconds: int) -> Iterator[bytes]:
        """Lines of a watch that ends after so many seconds, or with the connection. Raises as `get` does."""
        url = f"{path}?{urlencode({**query, 'watch': 'true', 'timeoutSeconds': seconds})}"
        response = self._send("GET", url, None, seconds, preload=False)
        if response.status >= 300:
            raise ApiStatusError(response.status, self._refusal("GET", path, response))
        with suppress(http.HTTPError), response:
            yield from response

    def _request(self, method: str, path: str, query: Mapping[str, str | int], body: bytes | None = None) -> bytes:
        return self._answer(method, path, query, body).data

    def _answer(
        self, method: str, path: str, query: Mapping[str, str | int], body: bytes | None = None, *, preload: bool = True
    ) -> BaseHTTPResponse:
        response = self._send(method, f"{path}?{urlencode(query)}" if query else path, body, preload=preload)
        if response.status >= 300:
            raise ApiStatusError(response.status, self._refusal(method, path, response))
        if not response.headers.get("Content-Type", "").startswith("application/json"):
            raise ClusterError(
                f"{method} {path}: the answer is not JSON but {_words(response.data)!r} ({self._place}); "
                "is that the address of an API server, with no proxy or login page before it?"
            )
        return response

    def _send(
        self, method: str, url: str, body: bytes | None, read_seconds: int = 0, *, preload: bool = True
    ) -> BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "kmm", **self._credentials()}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"  # JSON is YAML
        try:
            # A preloaded body is read inside, so that a connection cut halfway is tried again as well.
            return self._client.rest_client.pool_manager.request(
                method,
                self._server + url,
                headers=headers,
                body=body,
                timeout=Timeout(connect=_CONNECT_SECONDS, read=read_seconds or _READ_SECONDS),
                preload_content=preload,
                retries=_RETRY,
                redirect=False,
            )
        except (http.HTTPError, OSError, ValueError) as error:
            raise ClusterError(f"{method} {url.partition('?')[0]}: {_cause(error)} ({self._place})") from None

    def _credentials(self) -> dict[str, str]:
        settings = self._client.configuration.auth_settings()  # asks an exec plugin again when its token is old
        return {one["key"]: one["value"] for one in settings.values() if one["value"]}

    def _refusal(self, method: str, path: str, response: BaseHTTPResponse) -> str:
        advice = {
            401: "; these credentials are not accepted: log in again, or choose another context",
            403: "; give this user the verb and resource named here (RBAC), or choose another context",
        }.get(response.status, "")
        return f"{method} {path}: {response.status}: {_words(response.data)}{advice} ({self._place})"


def open_connection(access: Access) -> Connection:
    """Read credentials as `access` says; nothing is sent yet. Raises ClusterError if they can't be had."""

    configuration = Configuration()
    _load(configuration, access)
    _use_proxy_as_kubectl_does(configuration, access)
    configuration.connection_pool_maxsize = CONNECTIONS
    if not configuration.verify_ssl:  # the user wrote insecure-skip-tls-verify; kubectl says nothing either
        urllib3.disable_warnings(http.InsecureRequestWarning)
    # One line for each attempt would bury the error that ends them.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return Connection(ApiClient(configuration), access)


def _load(configuration: Configuration, access: Access) -> None:

    try:
        with _client_complaints() as complaints:
            if access.files:
                files = os.pathsep.join(access.files)
                load_kube_config(files, access.context, configuration, persist_config=False)  # type: ignore[no-untyped-call]
            else:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    # The client meets a malformed file with whatever Python raises.
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(f"{access} can't be used: {error}") from None
    if complaints:
        raise ClusterError(f"no credentials for {access}: {'; '.join(complaints)}")


@contextmanager
def _client_complaints() -> Iterator[list[str]]:
    """What the client logs as errors: it goes on without credentials when an exec plugin fails, and only logs it."""
    complaints: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    collector = Collector(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(collector)
    try:
        yield complaints
    finally:
        root.removeHandler(collector)


def _use_proxy_as_kubectl_does(configuration: Configuration, access: Access) -> None:
    """Go's rules, where the client has its own: `proxy-url` knows no NO_PROXY, HTTPS_PROXY never serves loopback."""
    if access.proxy_url:
        configuration.no_proxy = None
    elif _is_loopback(urlsplit(configuration.host).hostname or ""):
        configuration.proxy = None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: Exception) -> str:
    """urllib3's error in the words of the one who must mend it."""
    reason = error.reason if isinstance(error, http.MaxRetryError) and error.reason else error
    return next((text.format(reason) for kind, text in _CAUSES if isinstance(reason, kind)), str(reason))


def _words(body: bytes) -> str:
    """The message of a Kubernetes Status, or the beginning of whatever it is."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode(errors="replace").split())[:_SHOWN] or "empty answer"
