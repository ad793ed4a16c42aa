"""Work in other threads that does not hold up the end of an interrupted program, as that of an executor does."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def start(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call it in a thread of its own; the future has what it returns, or what it raises."""
    future: Future[T] = Future()
    Thread(target=fulfil, args=(future, partial(call, *args, **kwargs)), daemon=True).start()
    return future


def fulfil(future: Future[T], call: Callable[[], T]) -> None:
    """Call it, and give what it returns or raises to those who wait for the future."""
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
