"""An interrupt at any moment leaves no thread at work: what such a thread made would be found by nobody."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from testbed.system.interrupt import shielded
from testbed.system.sidebyside import side_by_side

AT_ONCE = 4


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """As in a session started from a terminal, however this one was."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Work:
    """Interrupts the main thread as soon as the item `at` is begun."""

    def __init__(self, at: int) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._at = at

    def __call__(self, item: int) -> None:
        self.begun.append(item)
        if item == self._at:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.01)
        self.ended.append(item)


@pytest.mark.parametrize("at", range(AT_ONCE + 2))
def test_what_has_begun_at_an_interrupt_has_ended_and_the_rest_is_not_begun(at: int) -> None:
    """The first four while threads are still being started, the others while the main thread waits."""
    work = Work(at)
    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(200), AT_ONCE, "test", all_tried=True)
    begun = sorted(work.begun)
    assert begun == sorted(work.ended)
    assert len(begun) < 200
    time.sleep(0.05)
    assert sorted(work.begun) == begun


def test_within_a_clean_up_all_is_done_before_the_interrupt_is_raised() -> None:
    work = Work(1)
    with pytest.raises(KeyboardInterrupt), shielded():
        side_by_side(work, range(20), AT_ONCE, "test", all_tried=True)
    assert sorted(work.ended) == list(range(20))


def test_results_come_in_the_items_order_and_the_first_failure_in_it_is_raised() -> None:
    assert side_by_side(lambda item: item * 2, range(9), 2, "test", all_tried=False) == [*range(0, 18, 2)]
    tried: list[int] = []

    def fails(item: int) -> None:
        tried.append(item)
        if item % 2:
            raise ValueError(item)

    with pytest.raises(ValueError, match=r"^1$"):
        side_by_side(fails, range(6), 2, "test", all_tried=True)
    assert sorted(tried) == [*range(6)]


def test_after_a_failure_what_has_not_begun_is_left() -> None:
    begun: list[int] = []

    def fails(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        raise ValueError(item)

    with pytest.raises(ValueError, match=r"^0$"):
        side_by_side(fails, range(1000), 1, "test", all_tried=False)
    assert len(begun) < 1000
