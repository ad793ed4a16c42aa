"""Tiny images for registries of tests and of the demo: the whole of the protocol, and nothing in the images."""

import hashlib
import json
from collections.abc import Iterable
from urllib.parse import urljoin

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"


class Pusher:
    """Puts tiny images into a real registry; `session` carries login and CA."""

    def __init__(self, url: str, session: requests.Session) -> None:
        """`url` is `http://HOST:PORT` or `https://…`."""
        self._url = url
        self._session = session

    def push_image(self, repository: str, tag: str) -> str:
        """Push an image; return the digest of the manifest that `tag` now names."""
        return self._put_manifest(repository, tag, MANIFEST, self._image(repository, tag))

    def push_layers(self, repository: str, tag: str, layers: Iterable[bytes]) -> str:
        """Push an image of these layers (tar+gzip), lowest first; return its digest, which `tag` now names."""
        descriptors = []
        for layer in layers:
            self._put_blob(repository, layer)
            descriptors.append({"mediaType": LAYER, "digest": _digest(layer), "size": len(layer)})
        manifest = json.loads(self._image(repository, tag)) | {"layers": descriptors}
        return self._put_manifest(repository, tag, MANIFEST, json.dumps(manifest).encode())

    def push_index(self, repository: str, tag: str) -> str:
        """Push an index with one image; return its digest, which `tag` now names."""
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
        location = urljoin(upload.url, upload.headers["Location"])
        self._session.put(location, params={"digest": _digest(content)}, data=content).raise_for_status()

    def _put_manifest(self, repository: str, version: str, media_type: str, content: bytes) -> str:
        url = f"{self._url}/v2/{repository}/manifests/{version}"
        self._session.put(url, data=content, headers={"Content-Type": media_type}).raise_for_status()
        return _digest(content)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
