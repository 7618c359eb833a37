"""Work in several threads at once that an interrupt cannot leave going: nothing of it begins or goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from testbed.system.interrupt import shielded

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(act: Callable[[A], B], items: Iterable[A], at_once: int, name: str, *, all_tried: bool) -> list[B]:
    """`act` of each, `at_once` at a time; the results in the items' order, or the first failure in that order.

    After a failure the rest is begun only with `all_tried`. However this ends, what has begun has ended: whoever
    clears up afterwards finds all there is.
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix=name)
    try:
        with shielded():  # an interrupt while a thread is being started leaves one that the pool would not wait for
            futures = [pool.submit(act, item) for item in items]
        wait(futures, return_when=ALL_COMPLETED if all_tried else FIRST_EXCEPTION)
    finally:
        with shielded():
            pool.shutdown(cancel_futures=True)
    failures = [future.exception() for future in futures if not future.cancelled()]
    if failed := next((failure for failure in failures if failure), None):
        raise failed
    return [future.result() for future in futures]
