"""Getting one archive: copy or download, verify, unpack. Standard library only.

Every function raises SourceError, whose text says what failed and where; the caller tries the next place.
"""

import hashlib
import json
import lzma
import re
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from typing import IO

TIMEOUT_SECONDS = 20
_CHUNK_BYTES = 1 << 20


class SourceError(Exception):
    """One place did not give what was asked for."""


def is_url(place: str) -> bool:
    """Tell a mirror URL from a mirror folder."""
    return place.startswith(("http://", "https://"))


def download(url: str, target: Path) -> None:
    """Write what `url` serves to `target`; proxies are taken from the environment as everywhere."""
    opener = urllib.request.build_opener()  # urlopen() keeps the proxies of its first call
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, _CHUNK_BYTES)
            expected = answer.headers.get("Content-Length")
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    if expected is not None and target.stat().st_size != int(expected):
        raise SourceError(f"{url}: ended after {target.stat().st_size} of {expected} bytes")


def verify(file: Path, sha256: str, origin: str) -> None:
    """Raise unless `file` has this checksum; `origin` is where it came from."""
    with file.open("rb") as opened:
        actual = hashlib.file_digest(opened, "sha256").hexdigest()
    if actual != sha256:
        raise SourceError(f"{origin}: wrong checksum: sha256 is {actual}, expected {sha256}")


def published_checksum(listing_url: str, name: str, work: Path) -> str:
    """Return the SHA-256 that the makers publish for `name`.

    `listing_url` answers with one of: a bare checksum (dl.k8s.io), `sha256sum` lines, or GitHub's release
    API, where each asset has a `digest`.
    """
    listing = work / "checksums"
    download(listing_url, listing)
    text = listing.read_text(errors="replace")
    checksum = _checksum_of_release(text, name) or _checksum_of_lines(text, name)
    if checksum is None:
        raise SourceError(f"{listing_url}: holds no SHA-256 for {name}")
    return checksum


def _checksum_of_release(listing: str, name: str) -> str | None:
    try:
        assets = json.loads(listing)["assets"]
        digest = next(asset["digest"] for asset in assets if asset["name"] == name)
        return re.fullmatch(r"sha256:([0-9a-f]{64})", digest)[1]  # type: ignore[index]
    except (ValueError, LookupError, TypeError, StopIteration):
        return None  # not a release, or one without this asset's digest


def _checksum_of_lines(listing: str, name: str) -> str | None:
    for line in listing.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})(?:\s+\*?(?:\./)?(\S+))?\s*", line)
        if match and match[2] in (None, name):
            return match[1]
    return None


def write_binary(content: IO[bytes], target: Path) -> None:
    """Write an executable file."""
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
    target.chmod(0o755)


def unpack(archive: Path, binaries: Iterable[str], target: Path, origin: str) -> None:
    """Write the named binaries from anywhere in `archive` straight into `target`, executable.

    Members are picked by base name and never by path, so an archive cannot write elsewhere.
    """
    missing = set(binaries)
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                name = Path(member.name).name
                if member.isfile() and name in missing:
                    content = tar.extractfile(member)
                    assert content is not None  # it is a regular file
                    write_binary(content, target / name)
                    missing.remove(name)
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise SourceError(f"{origin}: broken archive: {error}") from error
    if missing:
        raise SourceError(f"{origin}: the archive lacks {', '.join(sorted(missing))}")
