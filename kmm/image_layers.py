"""Which kernel modules images hold: their layers are read from the registry, from the top, no further than needed.

A module or its absence is only reported when it is certain: a layer that was read to its end must have its digest.
Formats: OCI image specification 1.1 (index, manifest, tar, tar+gzip, tar+zstd), with docker's names for them.
"""

import gzip
import hashlib
import sys
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import Final

from pydantic import BaseModel, Field, ValidationError

from kmm.image_files import MODULE_INDEX, Entry, FoundModules, ImageFiles, Kind, ModuleFolder
from kmm.images import ImageReference
from kmm.registry import ImageRequest, Repositories, Repository
from kmm.registry_errors import HostError
from kmm.registry_http import Connections

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_WORKERS: Final = 4  # layers at a time: reading them takes the network and the processor
_MAX_INDEX: Final = 16 * 1024 * 1024  # bytes of a modules.dep; those of distributions have less than 1 MiB
_MAX_CONFIGURATION: Final = 4 * 1024 * 1024  # bytes
_ZSTD_MAGIC: Final = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16)))  # RFC 8878
_DAMAGED: Final = (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class ModuleSearch:
    """What to look for in which image."""

    request: ImageRequest
    folder: ModuleFolder


def search_images(searches: Iterable[ModuleSearch], platform: str) -> dict[ModuleSearch, FoundModules | HostError]:
    """What was found, or why that can't be told; each image is read once, for all that is looked for in it.

    `platform` is `OS/ARCHITECTURE`; it chooses among the images of an index, and an image for another is an error.
    """
    wanted: dict[ImageRequest, list[ModuleFolder]] = {}
    for search in dict.fromkeys(searches):
        wanted.setdefault(search.request, []).append(search.folder)
    with Connections(_WORKERS) as connections, ThreadPoolExecutor(_WORKERS) as pool:
        repositories = Repositories(connections)
        answers = list(pool.map(lambda request: _answer(repositories, request, platform, wanted[request]), wanted))
    return {
        ModuleSearch(request, folder): found
        for (request, folders), answer in zip(wanted.items(), answers, strict=True)
        for folder, found in zip(folders, answer, strict=True)
    }


def _answer(
    repositories: Repositories, request: ImageRequest, platform: str, folders: Sequence[ModuleFolder]
) -> Sequence[FoundModules | HostError]:
    image = ImageReference.parse(request.image)
    try:
        return _search(repositories.find(request, image), image.version, platform, folders)
    except HostError as error:
        return [error] * len(folders)


class _Platform(BaseModel):
    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


class _Descriptor(BaseModel):
    digest: str = Field(pattern=r"^(sha256|sha512):[0-9a-f]+$")
    platform: _Platform | None = None


class _Manifest(BaseModel):
    """An image's manifest, which has layers and a configuration, or an index, which has manifests."""

    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] = Field(default_factory=list)


def _search(
    repository: Repository, version: str, platform: str, wanted: Sequence[ModuleFolder]
) -> tuple[FoundModules, ...]:
    files = ImageFiles(wanted)
    for layer in reversed(_layers(repository, version, platform)):
        with repository.blob(layer.digest) as content:
            if _read_layer(content, layer.digest, files):
                break
    return files.found()


def _layers(repository: Repository, version: str, platform: str) -> list[_Descriptor]:
    try:
        manifest = _Manifest.model_validate_json(repository.manifest(version))
    except ValidationError:
        raise _unusable("has a manifest that is no image's") from None
    if manifest.layers is not None:
        own = _own_platform(repository, manifest.config)
        _require(platform, {own} if own else {platform})
        return manifest.layers
    offered = {str(one.platform): one.digest for one in manifest.manifests if one.platform}
    _require(platform, offered)
    return _layers(repository, offered[platform], platform)


def _own_platform(repository: Repository, config: _Descriptor | None) -> str | None:
    """What an image was built for; None if it does not say so."""
    if config is None:
        return None
    with repository.blob(config.digest) as content, suppress(ValidationError):
        return str(_Platform.model_validate_json(content.read(_MAX_CONFIGURATION)))
    return None


def _require(platform: str, offered: Collection[str]) -> None:
    if platform not in offered:
        raise HostError(
            f"has the image for {', '.join(sorted(offered)) or 'no platform'}, not for {platform}",
            "choose another with --platform, or push an image for this one",
        )


def _read_layer(content: BufferedReader, digest: str, files: ImageFiles) -> bool:
    """Whether `files` has all answers, so that no lower layer needs to be read."""
    layer = _Digesting(content, digest)
    try:
        with tarfile.open(fileobj=_decompressed(BufferedReader(layer)), mode="r|") as members:
            for entry in _entries(members):
                if files.add(entry) and _decided(files):
                    return True
    except _DAMAGED as error:
        raise _unusable(f"has layer {digest}, which can't be read: {error}") from error
    if not layer.is_intact():
        raise _unusable(f"has layer {digest}, whose content has another digest")
    files.end_layer()
    return _decided(files)


class _Digesting(RawIOBase):
    """A stream that computes the digest of what is read of it."""

    def __init__(self, content: BufferedReader, digest: str) -> None:
        self._content = content
        self._digest = digest
        self._hash = hashlib.new(digest.partition(":")[0])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader passes
        length = self._content.readinto(buffer)
        self._hash.update(buffer[:length])
        return length

    def is_intact(self) -> bool:
        """Whether the whole content, read to its end, is what the digest stands for."""
        buffer = memoryview(bytearray(64 * 1024))
        while self.readinto(buffer):
            pass
        return self._digest.endswith(f":{self._hash.hexdigest()}")


def _decompressed(layer: BufferedReader) -> BufferedIOBase:
    """By the first bytes, for media types are wrong at times; `gzip` and `zstd` read layers of several frames too."""
    magic = layer.peek(4)[:4]
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(layer)
    return zstd.open(layer) if magic in _ZSTD_MAGIC else layer


def _entries(members: tarfile.TarFile) -> Iterator[Entry]:
    for member in members:
        path = "/".join(step for step in member.name.split("/") if step not in {"", "."})
        if member.isdir():
            yield Entry(path, Kind.FOLDER)
        elif member.issym():
            yield Entry(path, Kind.LINK, member.linkname)
        elif member.isreg() and path.endswith(f"/{MODULE_INDEX}") and (file := members.extractfile(member)):
            yield Entry(path, Kind.FILE, file.read(_MAX_INDEX).decode(errors="replace"))
        else:
            yield Entry(path, Kind.FILE)


def _decided(files: ImageFiles) -> bool:
    return all(found.decided for found in files.found())


def _unusable(problem: str) -> HostError:
    return HostError(problem, "push the image again")
