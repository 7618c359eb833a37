"""A phase that is over does nothing more, and leaves nothing: neither a late request nor a cache meets the next one."""

from __future__ import annotations

import time
from typing import Any

from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.nodes.recorder import PhaseLog, Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.policies.api import Command, Draft, Event, Evict, Finish, RequestArrived, Send
from testbed.wire.messages import Close, Message
from testbed.workload.planned import PlannedRequest

ONE = PlannedRequest(1, "p", (5, 6), 4, Sampling(seed=3), (2,), due_ms=10.0, slo_tokens_per_s=8.0)


class Asks:
    """A role that tells the target of every event."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def handle(self, event: Event, now: float) -> list[Command]:
        self.seen.append(event)
        return [Send("target0", Close(1))]


class Wire:
    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, to: str, message: Message) -> None:
        self.sent.append(message)


def host() -> tuple[RoleHost, Asks, Wire]:
    role, wire = Asks(), Wire()
    transport: Any = wire
    return RoleHost(role, transport, None, Recorder("p", 0, "user0", "near", PhaseLog()), (1, 1)), role, wire


def test_a_due_request_reaches_the_role_with_its_promise_and_without_its_prompts_name() -> None:
    made, role, wire = host()
    made.issue(ONE, time.monotonic_ns())
    assert role.seen == [RequestArrived(1, (5, 6), 4, Sampling(seed=3), (2,), 8.0)]
    assert len(wire.sent) == 1


def test_a_request_that_falls_due_after_its_phase_was_given_up_is_not_issued() -> None:
    made, role, wire = host()
    made.stop()
    made.issue(ONE, time.monotonic_ns())
    assert not role.seen and not wire.sent


class Drafts:
    """A role that drafts for every request, and for the second is done at once."""

    def handle(self, event: Event, now: float) -> list[Command]:
        assert isinstance(event, RequestArrived)
        draft = Draft(event.request, event.request, 0, event.prompt)
        return [draft, Finish(2)] if event.request == 2 else [draft]


class Caches:
    """A device that never answers."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def submit(self, job: Draft, on_answer: object) -> None:
        self.held.append(job.request)

    def release(self, request: int) -> None:
        self.held.remove(request)


class Keeps:
    """Done with every request at once; the first is kept until the third comes."""

    def handle(self, event: Event, now: float) -> list[Command]:
        assert isinstance(event, RequestArrived)
        draft = Draft(event.request, event.request, 0, event.prompt)
        evicted: list[Command] = [Evict(1)] if event.request == 3 else []
        return [draft, Finish(event.request, kept=event.request != 2), *evicted]


def test_what_a_role_keeps_stays_on_the_device_until_it_is_evicted_or_the_phase_ends() -> None:
    device: Any = Caches()
    wire: Any = Wire()
    made = RoleHost(Keeps(), wire, device, Recorder("p", 0, "user0", "near", PhaseLog()), (1, 3))
    for number, held in ((1, [1]), (2, [1]), (3, [3])):
        made.issue(replace(ONE, request=number), time.monotonic_ns())
        assert device.held == held
    made.stop()
    assert device.held == []


def test_the_end_of_a_phase_frees_the_caches_of_requests_that_were_given_up_and_no_others() -> None:
    device: Any = Caches()
    wire: Any = Wire()
    made = RoleHost(Drafts(), wire, device, Recorder("p", 0, "user0", "near", PhaseLog()), (1, 3))
    for number in (1, 2, 3):
        made.issue(replace(ONE, request=number), time.monotonic_ns())
    assert device.held == [1, 3]
    made.stop()
    assert device.held == []


class Answers:
    """A role that tells two users what came out, ends a request and asks for the next pass, all at once."""

    def handle(self, event: Event, now: float) -> list[Command]:
        return [Send("user0", Close(1)), Send("user1", Close(2)), Finish(7), Draft(0, 3, 0, (5,))]


def test_the_device_has_its_next_job_before_messages_are_written_and_memory_is_freed_before_it() -> None:
    log: list[object] = []

    class Device:
        def submit(self, job: Draft, on_answer: object) -> None:
            log.append(("job", job.request))

        def release(self, request: int) -> None:
            log.append(("release", request))

    class Sends:
        def send(self, to: str, message: Message) -> None:
            log.append(("send", to))

    device: Any = Device()
    wire: Any = Sends()
    made = RoleHost(Answers(), wire, device, Recorder("p", 0, "target0", "near", PhaseLog()), (1, 9))
    made.sample("user0", 1.0)
    assert log == [("release", 7), ("job", 3), ("send", "user0"), ("send", "user1")]
