"""Images made of layers, for the scripted registry."""

import gzip
import hashlib
import io
import json
import sys
import tarfile

from registries import UNKNOWN, Reply

from tools.images import INDEX, MANIFEST

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINK = "-> "  # a text that begins so makes a symbolic link


def tar(files):
    """A layer: paths to texts; a path that ends in `/` is a folder, `-> TARGET` makes a link."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path.rstrip("/"))
            content = b""
            if path.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif text.startswith(LINK):
                member.type, member.linkname = tarfile.SYMTYPE, text.removeprefix(LINK)
            else:
                content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return layer.getvalue()


def gzip_in_parts(content):
    """As eStargz does it: every part can be read alone."""
    return b"".join(gzip.compress(content[at : at + 700]) for at in range(0, len(content), 700))


def zstd_in_parts(content):
    """As zstd:chunked does it: several frames, then one to be skipped (RFC 8878, section 3.1.2)."""
    frames = (zstd.compress(content[at : at + 700]) for at in range(0, len(content), 700))
    return b"".join(frames) + b"\x50\x2a\x4d\x18\x04\x00\x00\x00note"


COMPRESSIONS = {
    "none": bytes,
    "gzip": gzip.compress,
    "gzip in parts": gzip_in_parts,
    "zstd": zstd.compress,
    "zstd in parts": zstd_in_parts,
}


class ImageStore:
    """Content of a registry: an answer function for ScriptedServer."""

    def __init__(self):
        self.replies = {"/v2/": Reply()}
        self.layers = set()  # digests of all layers of images

    def __call__(self, request):
        return self.replies.get(request.path, UNKNOWN)

    def add_blob(self, repository, content):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.replies[f"/v2/{repository}/blobs/{digest}"] = Reply(200, {}, content)
        return {"digest": digest, "size": len(content)}

    def add_image(self, name, *layers, architecture="amd64"):
        """An image `REPOSITORY:TAG` of layers, lowest first; each is `tar` bytes, compressed or not."""
        repository, _, tag = name.partition(":")
        configuration = json.dumps({"os": "linux", "architecture": architecture}).encode()
        blobs = [self.add_blob(repository, layer) for layer in layers]
        self.layers |= {blob["digest"] for blob in blobs}
        manifest = {"config": self.add_blob(repository, configuration), "layers": blobs}
        return self.add_manifest(repository, tag, MANIFEST, manifest)

    def add_index(self, name, platforms):
        """An index of the images that `platforms` maps from `os/architecture` to a layer."""
        repository, _, tag = name.partition(":")
        manifests = []
        for platform, layer in platforms.items():
            system, _, architecture = platform.partition("/")
            entry = {"platform": {"os": system, "architecture": architecture}}
            name = f"{repository}:{tag}-{architecture}"
            manifests.append(entry | {"digest": self.add_image(name, layer, architecture=architecture)})
        return self.add_manifest(repository, tag, INDEX, {"manifests": manifests})

    def add_manifest(self, repository, tag, media_type, manifest):
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type} | manifest).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        reply = Reply(200, {"Docker-Content-Digest": digest, "Content-Type": media_type}, body)
        for version in (tag, digest):
            self.replies[f"/v2/{repository}/manifests/{version}"] = reply
        return digest
