"""Work in other threads that does not hold up the end of an interrupted program, as that of an executor does."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def start(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call it in a thread of its own; the future has what it returns, or what it raises."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
