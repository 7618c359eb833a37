"""Work spread over processes ends whole, in error or interrupted, and leaves no process behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.sweeps import pool


def squares():
    return lambda number: number * number


def picky():
    def work(number):
        if number == 3:
            raise BadInput("three is not a number here")
        return number

    return work


def suicidal():
    def work(number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    return work


def long_answers():
    return lambda number: bytes(10_000_000)  # far more than a pipe holds: workers are always in the middle of one


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_every_item_is_worked_on_once(processes):
    assert sorted(pool.results(range(20), squares, processes, "squared")) == [number**2 for number in range(20)]
    assert list(pool.results([], squares, processes, "squared")) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_work_raises_is_raised_here(processes):
    with pytest.raises(BadInput, match="three is not a number here"):
        list(pool.results(range(20), picky, processes, "was picky"))


def test_a_killed_worker_is_said_to_be_one():
    with pytest.raises(MachineCannot, match=r"a process that played was killed.*fewer --workers"):
        list(pool.results(range(20), suicidal, 2, "played"))


def test_whoever_stops_taking_results_ends_the_workers_even_in_the_middle_of_an_answer():
    for result in pool.results(range(20), long_answers, 2, "wrote"):
        assert len(result) == 10_000_000
        time.sleep(0.2)  # the next answers are under way by now
        break


PROGRAM = """
import sys
from tests.sweeps.test_pool import long_answers
from testbed.system.interrupt import interruptible
from testbed.sweeps import pool
with interruptible():
    try:
        for _ in pool.results(range(100_000), long_answers, 2, "wrote"):
            print("one", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("after_ms", [0, 3, 7, 20])
def test_an_interrupt_at_any_instant_ends_all(after_ms):
    program = subprocess.Popen(
        ["env", "--default-signal=TERM", sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], start_new_session=True,
    )  # fmt: skip
    assert program.stdout.readline() == b"one\n"
    time.sleep(after_ms / 1e3)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=30)
    assert program.returncode == 130
    with pytest.raises(ProcessLookupError):
        for _ in range(200):  # processes that have ended may take a moment to be gone
            os.killpg(program.pid, 0)
            time.sleep(0.05)
