"""A user in a closed loop that begins at its own time has one request open at any moment."""

from __future__ import annotations

import asyncio
import time

import msgspec

from testbed.decoding.sampling import Sampling
from testbed.nodes.userdriver import UserDriver
from testbed.workload.planned import PlannedRequest


def planned(number: int, due_ms: float | None) -> PlannedRequest:
    return PlannedRequest(number, "p", (1,), 4, Sampling(), (), due_ms)


def test_requests_without_a_time_wait_for_the_first_that_has_one() -> None:
    issued: list[int] = []
    over: list[bool] = []

    async def drive() -> None:
        requests = [planned(1, 5.0), planned(2, None), planned(3, None)]
        driver = UserDriver(requests, lambda one, _: issued.append(one.request), lambda: over.append(True))
        driver.start()
        assert issued == []
        while not issued:
            await asyncio.sleep(0.001)
        assert issued == [1]
        driver.finished(1)
        assert issued == [1, 2]
        driver.finished(2)
        assert issued == [1, 2, 3] and not over
        driver.finished(3)

    asyncio.run(drive())
    assert over == [True]


def test_without_times_the_first_is_issued_at_once() -> None:
    issued: list[int] = []

    async def drive() -> None:
        UserDriver(
            [planned(1, None), planned(2, None)], lambda one, _: issued.append(one.request), lambda: None
        ).start()
        assert issued == [1]

    asyncio.run(drive())


def test_a_user_thinks_before_the_next_request() -> None:
    issued: list[tuple[int, int]] = []

    async def drive() -> None:
        requests = [planned(1, None), msgspec.structs.replace(planned(2, None), think_ms=30.0)]
        driver = UserDriver(requests, lambda one, at_ns: issued.append((one.request, at_ns)), lambda: None)
        driver.start()
        driver.finished(1)
        ended_ns = time.monotonic_ns()
        assert [request for request, _ in issued] == [1]
        while len(issued) < 2:
            await asyncio.sleep(0.001)
        assert issued[1][0] == 2 and issued[1][1] - ended_ns >= 29_000_000

    asyncio.run(drive())
