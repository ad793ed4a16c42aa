"""The embedded cluster's API server over plain HTTPS requests."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml

CONNECTIONS = 16


class ApiError(Exception):
    """The API server refused a request; carries the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """Requests with a client certificate; JSON in and out."""

    def __init__(self, server: str, ca: str, certificate: str, key: str) -> None:
        """`server` is the base URL; the others are paths of PEM files."""
        self._server = server
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            ca_certs=ca,
            cert_file=certificate,
            key_file=key,
            retries=False,
            timeout=urllib3.Timeout(connect=5, read=60),
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """Read a kubeconfig as kwokctl writes it: one cluster, one user, certificates in files."""
        config = yaml.safe_load(path.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return cls(
            cluster["server"],
            cluster["certificate-authority"],
            user["client-certificate"],
            user["client-key"],
        )

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send `body` as JSON and return the answer's; ApiError on any status but 2xx."""
        answer = self._pool.request(method, self._server + path, json=body, headers=headers)
        if not 200 <= answer.status < 300:
            raise ApiError(
                answer.status,
                f"{method} {path}: HTTP {answer.status}: {answer.data.decode(errors='replace')}",
            )
        result: dict[str, Any] = answer.json()
        return result

    def is_ready(self) -> bool:
        """Tell whether the API server says that it is ready to serve."""
        try:
            return self._pool.request("GET", f"{self._server}/readyz", timeout=5).status == HTTPStatus.OK
        except urllib3.exceptions.HTTPError:
            return False
