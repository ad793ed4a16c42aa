"""Which images exist, and with which digest: the only connection to image registries.

An image is absent only if a registry answers 404 for its manifest; whatever else is not the manifest is a
RegistryError. Protocol: OCI distribution specification 1.1, with docker's basic and token authentication.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from threading import Lock
from typing import Final

from oras.defaults import default_manifest_accepted_media_types

from kmm.docker_config import Credential, DockerConfig
from kmm.errors import RegistryError
from kmm.images import ImageReference
from kmm.logins import UserLogins
from kmm.registry_errors import HostError, status_error
from kmm.registry_http import REFUSED, Answer, Connections, RegistryHost

WORKERS: Final = 16  # requests at a time
_MAX_MANIFEST: Final = 4 * 1024 * 1024  # bytes; the size that the specification wants registries to take
_MAX_LISTED: Final = 10
_DIGEST: Final = re.compile(r"[a-z0-9]+:[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image and how its Module says to reach it; `pull_secret` is what its `imageRepoSecret` holds."""

    image: str
    insecure: bool = False
    skip_tls_verify: bool = False
    pull_secret: DockerConfig | None = None


def check_images(requests: Iterable[ImageRequest], advice: str = "") -> dict[str, str | None]:
    """The digest of each image, None for an absent one.

    Each distinct request is made once, many at a time. RegistryError lists every image without a usable answer,
    and ends with `advice`: how the user goes on without one.
    """
    references = _references(set(requests))
    with Connections(WORKERS) as connections, ThreadPoolExecutor(WORKERS) as pool:
        repositories = Repositories(connections)
        questions = [(repositories.find(request, image), image) for request, image in references.items()]
        outcomes = list(pool.map(lambda question: _outcome(*question), questions))
    return _digests(references, outcomes, advice)


class Repository:
    """One repository of a registry, with the logins that may open it. Can be shared between threads.

    The first refused request logs in, for all later ones too. A refusal of all logins is final: asking again for each
    tag would only get the account locked.
    """

    def __init__(
        self, host: RegistryHost, name: str, credentials: Callable[[], Sequence[Credential]], pull_secret: str
    ) -> None:
        """`pull_secret` says where logins were looked for first, if anywhere."""
        self._host = host
        self._name = name
        self._credentials = credentials
        self._pull_secret = pull_secret
        self._lock = Lock()
        self._authorization: str | None = None
        self._refusal: HostError | None = None

    def manifest_digest(self, version: str) -> str | None:
        """The digest of the manifest or index with this tag or digest, None if there is none."""
        answer = self._manifest("HEAD", version)
        if answer.status == 405 or (answer.status == 200 and not _header_digest(answer)):
            answer = self._manifest("GET", version)
        if answer.status == 200:
            return _header_digest(answer) or _body_digest(answer)
        if answer.status != 404:
            raise self._status_error(answer.status, answer.reason)
        if not self._host.is_registry(answer):
            raise _no_registry()
        return None

    def manifest(self, version: str) -> bytes:
        """The manifest or index with this tag or digest, which is there."""
        answer = self._manifest("GET", version)
        if answer.status != 200:
            raise self._status_error(answer.status, answer.reason)
        return answer.body

    @contextmanager
    def blob(self, digest: str) -> Iterator[BufferedReader]:
        """A layer or another blob of an image, to be read as far as is needed."""
        path = f"blobs/{digest}"
        self.request("HEAD", path, "*/*", _MAX_MANIFEST)  # logs in anew if need be: some tokens hold for a minute
        headers = _headers("*/*", self._authorization) | {"Accept-Encoding": "identity"}
        with self._host.open("GET", f"{self._name}/{path}", headers) as response:
            if response.status_code != 200:
                raise self._status_error(response.status_code, response.reason)
            response.raw.auto_close = False  # else reading on at the end of the body raises
            yield BufferedReader(response.raw)

    def request(self, method: str, path: str, accept: str, limit: int) -> Answer:
        """The answer for `path` below the repository, logged in if need be; HostError if the logins are refused."""

        def send(authorization: str | None) -> Answer:
            return self._host.send(method, f"{self._name}/{path}", _headers(accept, authorization), limit)

        used = self._authorization
        answer = send(used)
        if answer.status not in REFUSED:
            return answer
        with self._lock:
            if self._authorization != used:  # another thread has logged in meanwhile
                answer = send(self._authorization)
            return answer if answer.status not in REFUSED else self._log_in(answer, send)

    def _manifest(self, method: str, version: str) -> Answer:
        return self.request(
            method, f"manifests/{version}", ", ".join(default_manifest_accepted_media_types), _MAX_MANIFEST
        )

    def _status_error(self, status: int, reason: str) -> HostError:
        return status_error(status, reason, plain_http=self._host.plain_http)

    def _log_in(self, challenge: Answer, send: Callable[[str | None], Answer]) -> Answer:
        if self._refusal is not None:
            raise HostError(*self._refusal.args)
        try:
            credentials = self._credentials()
        except RegistryError as error:
            self._refusal = HostError(
                f"wants a login ({challenge.status}), but {error}",
                "correct it, or name a Secret with a login in `imageRepoSecret`",
            )
            raise self._refusal from error
        for credential in credentials or (None,):
            authorization = self._host.authorization(challenge, credential)
            if authorization and (answer := send(authorization)).status not in REFUSED:
                self._authorization = authorization
                return answer
        self._refusal = _refusal(challenge.status, credentials, self._pull_secret)
        raise self._refusal


class Repositories:
    """Finds the one Repository for equal settings, so that its login and its failures are shared."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._user_logins = UserLogins()
        self._hosts: dict[tuple[str, bool, bool], RegistryHost] = {}
        self._repositories: dict[tuple[RegistryHost, str, DockerConfig | None], Repository] = {}

    def find(self, request: ImageRequest, image: ImageReference) -> Repository:
        """The repository of `request`, whose image is `image`."""
        host = self._host(image.host, request.insecure, request.skip_tls_verify)
        key = (host, image.repository, request.pull_secret)
        if key not in self._repositories:
            self._repositories[key] = Repository(
                host,
                image.repository,
                lambda: self._credentials(request.pull_secret, image),
                request.pull_secret.origin if request.pull_secret else "",
            )
        return self._repositories[key]

    def _host(self, name: str, insecure: bool, skip_tls_verify: bool) -> RegistryHost:
        key = (name, insecure, skip_tls_verify)
        if key not in self._hosts:
            self._hosts[key] = RegistryHost(self._connections, name, insecure=insecure, skip_tls_verify=skip_tls_verify)
        return self._hosts[key]

    def _credentials(self, pull_secret: DockerConfig | None, image: ImageReference) -> Sequence[Credential]:
        in_secret = pull_secret.credentials(image) if pull_secret else ()
        return in_secret or self._user_logins.credentials(image)


def _headers(accept: str, authorization: str | None) -> dict[str, str]:
    return {"Accept": accept} | ({"Authorization": authorization} if authorization else {})


def _references(requests: Iterable[ImageRequest]) -> dict[ImageRequest, ImageReference]:
    references, problems = {}, []
    for request in sorted(requests, key=lambda request: request.image):
        try:
            references[request] = ImageReference.parse(request.image)
        except ValueError as error:
            problems.append(f"{request.image!r} is not an image name: {error}")
    if problems:
        raise RegistryError("\n".join(dict.fromkeys(problems)))
    return references


def _outcome(repository: Repository, image: ImageReference) -> str | HostError | None:
    try:
        return repository.manifest_digest(image.version)
    except HostError as error:
        return error


def _digests(
    references: dict[ImageRequest, ImageReference], outcomes: Sequence[str | HostError | None], advice: str
) -> dict[str, str | None]:
    digests: dict[str, str | None] = {}
    failures: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (request, image), outcome in zip(references.items(), outcomes, strict=True):
        error = outcome if isinstance(outcome, HostError) else _conflict(digests, request.image, outcome)
        if error:
            failures[image.registry, error.problem, error.remedy].append(request.image)
    if failures:
        raise RegistryError(_report(failures, advice))
    return digests


def _conflict(digests: dict[str, str | None], image: str, digest: str | None) -> HostError | None:
    """Keep the answer, unless the same image was found with other settings and now is absent, or vice versa."""
    if (digests.setdefault(image, digest) is None) == (digest is None):
        return None
    return HostError("shows it to some logins only", "give its Modules the same `imageRepoSecret`")


def _report(failures: dict[tuple[str, str, str], list[str]], advice: str) -> str:
    lines = ["Can't tell whether these images exist:"]
    for (registry, problem, remedy), requested in sorted(failures.items()):
        images = sorted(set(requested))
        more = len(images) - _MAX_LISTED
        lines += [f"  {registry} {problem}", *(f"    - {image}" for image in images[:_MAX_LISTED])]
        lines += [f"    - and {more} more"] if more > 0 else []
        lines += [f"    {remedy}"]
    lines += [advice] if advice else []
    return "\n".join(lines)


def _refusal(status: int, credentials: Sequence[Credential], pull_secret: str) -> HostError:
    if not credentials and pull_secret:
        return HostError(
            f"wants a login ({status}), and {pull_secret} gives none for it",
            "see that the Secret exists, and has an entry for this registry; check the image's name",
        )
    if not credentials:
        return HostError(
            f"wants a login ({status})",
            "name a Secret with a login in `imageRepoSecret`, or use `docker login`; check the image's name,"
            " for many registries answer so, too, where there is no such repository",
        )
    origins = " and ".join(dict.fromkeys(credential.origin for credential in credentials))
    return HostError(
        f"refuses the login of {origins} ({status})",
        "check the image's name, that the password still holds, and that the account may read the repository"
        " (one that does not exist yet may have to be created first)",
    )


def _header_digest(answer: Answer) -> str | None:
    digest = answer.headers.get("Docker-Content-Digest", "")
    return digest if _DIGEST.fullmatch(digest) else None


def _body_digest(answer: Answer) -> str:
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if media_type not in default_manifest_accepted_media_types:
        raise _no_registry()
    return f"sha256:{hashlib.sha256(answer.body).hexdigest()}"


def _no_registry() -> HostError:
    return HostError("is a web server but no registry", "check the host name and port in the image")
