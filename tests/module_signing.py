"""Images with kernel modules in a registry, keys that sign modules, and who signed one."""

import io
import json
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIGNATURE_MAGIC = b"~Module signature appended~\n"


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return the output of a command that has to succeed."""
    done = subprocess.run(command, check=False, env=env, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Image:
    """An image in the registry."""

    registry: str
    repository: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:1"

    @property
    def exists(self) -> bool:
        try:
            self._get("manifests/1").close()
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return False
        return True

    @property
    def manifest(self) -> Any:
        with self._get("manifests/1") as answer:
            return json.load(answer)

    @property
    def config(self) -> Any:
        with self._get(f"blobs/{self.manifest['config']['digest']}") as answer:
            return json.load(answer)["config"]

    def last_layer(self) -> dict[str, bytes]:
        """Return path and content of the regular files."""
        with self._get(f"blobs/{self.manifest['layers'][-1]['digest']}") as answer:
            content = io.BytesIO(answer.read())
        with tarfile.open(fileobj=content) as archive:
            return {f"/{file.name}": archive.extractfile(file).read() for file in archive if file.isfile()}

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(f"http://{self.registry}/v2/{self.repository}/{path}")
        request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
        return urllib.request.urlopen(request)


@dataclass(frozen=True)
class SigningKey:
    key: Path
    certificate: Path


def new_signing_key(folder: Path, name: str) -> SigningKey:
    pair = SigningKey(folder / f"{name}.key", folder / f"{name}.crt")
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"),
        *("-keyout", pair.key, "-out", pair.certificate),
    )
    return pair


def signed_by(module: bytes, signer: SigningKey, folder: Path) -> bool:
    """Check the end of a module as include/linux/module_signature.h lays it out; OpenSSL verifies the PKCS#7."""
    if not module.endswith(SIGNATURE_MAGIC):
        return False
    descriptor_start = len(module) - len(SIGNATURE_MAGIC) - 12
    length = int.from_bytes(module[descriptor_start + 8 : descriptor_start + 12], "big")
    (folder / "content").write_bytes(module[: descriptor_start - length])
    (folder / "signature").write_bytes(module[descriptor_start - length : descriptor_start])
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-out", "/dev/null"]
    command += ["-in", "signature", "-content", "content", "-certfile", str(signer.certificate)]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True).returncode == 0
