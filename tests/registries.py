"""Registries for tests: a scripted one that misbehaves as told, and how to put an image into a real one."""

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DIGEST = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Reply:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


PRESENT = Reply(200, {"Docker-Content-Digest": DIGEST, "Content-Type": MANIFEST})
UNKNOWN = Reply(404, {"Content-Type": "application/json"}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


class ScriptedRegistry:
    """A loopback HTTP server whose `answer` decides each reply; `requests` holds what it was asked."""

    def __init__(self, answer: Callable[[Request], Reply], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                request = Request(self.command, self.path, self.headers, body)
                registry.requests.append(request)
                reply = answer(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_POST = reply  # noqa: N815 - the names http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # clients that refuse our certificate or hang up are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]


class Pusher:
    """Puts tiny images into a real registry; `session` carries login and CA."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self._url = url
        self._session = session

    def push_image(self, repository: str, tag: str) -> str:
        """The digest of the manifest that `tag` now names."""
        return self._put_manifest(repository, tag, MANIFEST, self._image(repository, tag))

    def push_index(self, repository: str, tag: str) -> str:
        """The digest of an index with one image, which `tag` now names."""
        image = self._image(repository, tag)
        digest = self._put_manifest(repository, _digest(image), MANIFEST, image)
        entry = {"mediaType": MANIFEST, "digest": digest, "size": len(image)}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        return self._put_manifest(repository, tag, INDEX, json.dumps(index).encode())

    def _image(self, repository: str, tag: str) -> bytes:
        config = json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()
        self._put_blob(repository, config)
        descriptor = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": _digest(config),
            "size": len(config),
        }
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": []}
        return json.dumps(manifest).encode()

    def _put_blob(self, repository: str, content: bytes) -> None:
        upload = self._session.post(f"{self._url}/v2/{repository}/blobs/uploads/")
        upload.raise_for_status()
        location = requests.compat.urljoin(upload.url, upload.headers["Location"])
        self._session.put(location, params={"digest": _digest(content)}, data=content).raise_for_status()

    def _put_manifest(self, repository: str, version: str, media_type: str, content: bytes) -> str:
        url = f"{self._url}/v2/{repository}/manifests/{version}"
        self._session.put(url, data=content, headers={"Content-Type": media_type}).raise_for_status()
        return _digest(content)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
