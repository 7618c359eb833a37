"""A node's device whose answers are recorded: tokens from a decode table, times from the profile, network real.

Rule kept: no answer is handed on before the emulated device would have had it, and none before an earlier one. One that
is handed on late, because this machine was busy, says so in its record, as a real pass that took too long does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from testbed.clock.api import WALL, Clock
from testbed.clock.waiting import Alarm, Barriers
from testbed.models.devices import load_profile
from testbed.nodes.control import Bound
from testbed.nodes.jobs import Answer, PassRecord
from testbed.nodes.rolehost import OnAnswer
from testbed.nodes.tenants import ALONE, Alone
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.policies.api import DeviceJob, DeviceSample, JobDone
from testbed.policies.estimates import RecentMedian
from testbed.system.units import NS_PER_MS, NS_PER_US
from testbed.tables.carried import carried
from testbed.tables.replay import Replay

# Handed on later than this is late: as much as the median of a link may be off (`network.measure.tolerances`).
LATE_NS = 300 * NS_PER_US
# How long before it is due an answer is waited for awake, at most: a node that spins keeps others of its rank waiting.
MOST_EARLY_NS = 60 * NS_PER_US


class _LoopTime:
    """The present of a clock, and calls at later times, which come in the order in which they were asked for."""

    def __init__(self, clock: Clock, barriers: Barriers) -> None:
        self._clock = clock
        self._barriers = barriers
        self._waiting: deque[tuple[int, Callable[[Any], object], Any]] = deque()
        self._overslept_ns = RecentMedian(window=31)

    @property
    def now_ns(self) -> int:
        return self._clock.now_ns()

    def at(self, at_ns: int, call: Callable[[Any], object], argument: Any, /) -> None:
        self._waiting.append((at_ns, call, argument))
        if len(self._waiting) == 1:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        """Wakes as much before as wake-ups usually are late, so that most answers leave on time to the microsecond."""
        early_ns = min(MOST_EARLY_NS, max(0, round(self._overslept_ns.value or 0)))
        wake_ns = self._waiting[0][0] - early_ns
        Alarm(self._barriers, wake_ns, lambda: self._call_first(wake_ns))

    def _call_first(self, wake_ns: int) -> None:
        now_ns = self._clock.now_ns()
        self._overslept_ns.add(now_ns - wake_ns)
        due_ns, call, argument = self._waiting.popleft()
        if self._waiting:
            self._wait_for_first()
        self._barriers.hold_until(due_ns)  # last: the barrier that it leaves is as exact as its time
        call(argument)

    def handed_on(self) -> None:
        """What was called at its time has looked at the clock: from here on it takes as long as any event."""
        self._barriers.go_on()


class RecordedDevice:
    """Implements `Device`. `path` is a file of `testbed.tables.carried`; `devices` name the profiles."""

    def __init__(
        self, path: Path, devices: Mapping[str, str], clock: Clock = WALL, barriers: Barriers | None = None
    ) -> None:
        self._table = carried(path.read_bytes())
        self._profiles = {model: load_profile(name) for model, name in devices.items()}
        self._clock = clock
        self._time = _LoopTime(clock, Barriers(clock) if barriers is None else barriers)
        self._replay: Replay
        self._device: VirtualDevice
        self.begin(0, ())

    def begin(self, seed: int, bound: Sequence[Bound], tenants: Alone = ALONE) -> None:
        """A new trial: caches are empty, the device draws by `seed`."""
        self._replay = Replay(self._table)
        for one in bound:
            self._replay.bind(one.request, one.prompt_id, one.sampling)
        self._device = VirtualDevice(self._time, self._replay, self._profiles, seed=seed, tenants=tenants)

    @property
    def lookups(self) -> tuple[int, int]:
        """Of this trial: answers about trees, and how many of them the table approximated."""
        return self._replay.tree_lookups, self._replay.approximated_lookups

    def submit(self, job: DeviceJob, on_answer: OnAnswer) -> None:
        def over(done: tuple[DeviceJob, int, JobDone, list[PassRecord]]) -> None:
            _, submitted_ns, ready, passes = done
            late_ns = self._clock.now_ns() - passes[-1].finished_ns
            self._time.handed_on()
            if late_ns > LATE_NS:
                last = passes[-1].started_ns
                passes = [_late(one, late_ns) if one.started_ns == last else one for one in passes]
            on_answer(submitted_ns, Answer(ready, tuple(passes)))

        self._device.submit(job, over)

    def sample(self) -> DeviceSample | None:
        return self._device.sample()

    def release(self, request: int) -> None:
        self._device.release(request)

    async def close(self) -> None:
        """Nothing of it outlives its node."""


def _late(one: PassRecord, late_ns: int) -> PassRecord:
    return msgspec.structs.replace(one, overrun_ms=late_ns / NS_PER_MS)
