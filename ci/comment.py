"""Puts a comment on a merge request: `python3 ci/comment.py COMMENTS_URL <comment.md`, with its token in COMMENT_TOKEN.

COMMENTS_URL is the collection of the request's comments in the API of GitHub (`…/issues/NUMBER/comments`) or GitLab
(`…/merge_requests/NUMBER/notes`). A comment with the same first line is replaced, so that there is one of each stack.
Needs the standard library alone.
"""

import json
import os
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_PAGE_SIZE = 100


def put_comment(url: str, body: str) -> None:
    """Change the comment that begins as `body` does, or add one."""
    title = body.partition("\n")[0]
    former = next((one for one in _comments(url) if one["body"].partition("\n")[0].rstrip("\r") == title), None)
    if former is None:
        _call("POST", url, body)
    elif "url" in former:  # GitHub's comments know their own address
        _call("PATCH", former["url"], body)
    else:
        _call("PUT", f"{url}/{former['id']}", body)


def _comments(url: str) -> Iterator[dict[str, Any]]:
    for page in count(1):
        found = _call("GET", f"{url}?per_page={_PAGE_SIZE}&page={page}")
        yield from found
        if len(found) < _PAGE_SIZE:
            return


def _call(method: str, url: str, body: str | None = None) -> Any:  # noqa: ANN401 (whatever JSON holds)
    headers = {"Authorization": f"Bearer {os.environ['COMMENT_TOKEN']}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps({"body": body}).encode()
    with urlopen(Request(url, content, headers, method=method), timeout=30) as answer:
        return json.load(answer)


def main() -> int:
    """Comment, or say why that failed."""
    if len(sys.argv) != 2 or "COMMENT_TOKEN" not in os.environ:
        print("usage: COMMENT_TOKEN=TOKEN python3 ci/comment.py COMMENTS_URL <comment.md", file=sys.stderr)
        return 2
    try:
        put_comment(sys.argv[1], sys.stdin.buffer.read().decode(errors="replace"))
    except HTTPError as error:
        print(f"{error.url}: {error.code}: {error.read(500).decode(errors='replace')}", file=sys.stderr)
        return 1
    except (URLError, TimeoutError) as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
