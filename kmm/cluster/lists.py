"""Lists in pages. A page names the next one in its first bytes: it is asked for while the rest is still on its way.

So the API server writes several pages at a time, which takes it longer than sending or parsing them.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from kmm.background import fulfil, start
from kmm.cluster.connection import ApiStatusError, Connection
from kmm.errors import ClusterError
from kmm.wire import Page, continue_token

T = TypeVar("T")

_PAGE_SIZE: Final = 500
_PAGES_AT_ONCE: Final = 3  # on their way; they are parsed faster than they come, so that few wait for that
_ATTEMPTS: Final = 3


def read_list(
    connection: Connection, path: str, query: Mapping[str, str], parse: Callable[[bytes], Page[T]]
) -> list[T]:
    """All items below `path`. A list whose continue token expired meanwhile starts again, from nothing.

    Raises ApiStatusError if the server refuses a page, ClusterError if one can't be had or is not what was asked for.
    """
    for _ in range(_ATTEMPTS):
        try:
            return [item for page in _Pages(connection, path, query).read(parse) for item in page.items]
        except ApiStatusError as error:
            if error.status != 410:
                raise
            expired = error
    raise ClusterError(f"the list changed faster than it could be read, {_ATTEMPTS} times: {expired}")


@dataclass(frozen=True)
class _Asked:
    """A page that was asked for by its token: its body, and the page after it if that was asked for already."""

    token: str
    answer: "Future[tuple[bytes, _Asked | None]]" = field(default_factory=Future)


class _Pages:
    """One reading of a list: some threads fetch pages in the order in which they are asked for."""

    def __init__(self, connection: Connection, path: str, query: Mapping[str, str]) -> None:
        self._connection = connection
        self._path = path
        self._query = query
        self._questions: SimpleQueue[_Asked | None] = SimpleQueue()

    def read(self, parse: Callable[[bytes], Page[T]]) -> Iterator[Page[T]]:
        """The pages in their order."""
        asked: _Asked | None = self._ask("")
        for _ in range(_PAGES_AT_ONCE):
            start(self._answer_all)
        try:
            while asked:
                body, following = asked.answer.result()
                page = parse(body)
                yield page
                token = page.continue_token
                # A page that had to be fetched again may be that of a newer list.
                asked = following if following and following.token == token else self._ask(token) if token else None
        finally:
            for _ in range(_PAGES_AT_ONCE):
                self._questions.put(None)

    def _ask(self, token: str) -> _Asked:
        asked = _Asked(token)
        self._questions.put(asked)
        return asked

    def _answer_all(self) -> None:
        while asked := self._questions.get():
            fulfil(asked.answer, partial(self._fetch, asked.token))

    def _fetch(self, token: str) -> tuple[bytes, _Asked | None]:
        following: list[_Asked] = []

        def ask_on(beginning: bytes) -> None:
            if next_token := continue_token(beginning):
                following.append(self._ask(next_token))

        query = {**self._query, "limit": str(_PAGE_SIZE)} | ({"continue": token} if token else {})
        body = self._connection.get_page(self._path, query, ask_on)
        return body, following[0] if following else None
