"""A connection in virtual time over two paths that lose what a test says, and how long its messages took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.stream import Stream

MS = 1_000_000
Loses = Callable[[int], bool]


class Scripted(Path):
    """`loses` is asked with the number of each packet, from 0; `sent_ms` is when each was sent."""

    def __init__(self, one_way_ms: float, loses: Loses) -> None:
        super().__init__(LinkSpec(one_way_ms), "scripted")
        self._loses = loses
        self.sent_ms: list[float] = []

    def arrives_ns(self, now_ns: int, size_bytes: int) -> int | None:
        number = len(self.sent_ms)
        self.sent_ms.append(now_ns / MS)
        return None if self._loses(number) else super().arrives_ns(now_ns, size_bytes)


def nothing(number: int) -> bool:
    return False


def these(*numbers: int) -> Loses:
    return lambda number: number in numbers


@dataclass
class Told:
    """What came of the messages: when each arrived, and the path's packets."""

    arrived_ms: list[float]
    sent_ms: list[float]
    window: int
    order: list[int] = field(default_factory=list)


def tell(
    messages: list[tuple[float, int]], rtt_ms: float = 40.0, loses: Loses = nothing, acks: Loses = nothing
) -> Told:
    """Sends messages of (time in ms, bytes); runs until nothing is left to happen."""
    kernel = Kernel()
    there, back = Scripted(rtt_ms / 2, loses), Scripted(rtt_ms / 2, acks)
    stream = Stream(kernel, there, back, round(rtt_ms * MS))
    arrived: dict[int, float] = {}
    order: list[int] = []

    def heard(index: int) -> None:
        arrived[index] = kernel.now_ns / MS
        order.append(index)

    def say(index: int) -> None:
        stream.send(messages[index][1], heard, index)

    for index, (at_ms, _) in enumerate(messages):
        kernel.at(round(at_ms * MS), say, index)
    kernel.run()
    return Told([arrived[index] for index in range(len(messages))], there.sent_ms, stream.window, order)


def took(told: Told, messages: list[tuple[float, int]]) -> list[float]:
    return [round(at - sent, 6) for at, (sent, _) in zip(told.arrived_ms, messages, strict=True)]
