"""What other tenants do to a device's queue: when a job of ours can start, where theirs stand in line as well.

Their server decodes all that it runs in one pass after another, prompts in the rest of the token budget, as
`centralised` does; each pass stands in the device's queue when the one before it has ended, or when a request has woken
an idle server. Ours and theirs are served in the order in which they came, each as long as the device's profile says.

Rule kept: nothing is computed but times, lazily, when one of our jobs is submitted; a pass takes constant time here
however many requests are in it. Both engines ask this one class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile
from testbed.policies.api import DeviceSample
from testbed.system.units import NS_PER_MS
from testbed.workload.background import Background

TOKEN_BUDGET = 512  # tokens a pass, as `centralised`


class Alone:
    """A device without other tenants."""

    def sample(self, now_ns: int, free_ns: int) -> DeviceSample | None:
        """What they did since the last sample; None where there are none."""
        return None

    def start(self, submitted_ns: int, free_ns: int) -> int:
        return max(submitted_ns, free_ns)


ALONE = Alone()


class Tenants(Alone):
    """One device's other tenants from `begins_ns` on. `busy_ns`: what their passes have taken so far."""

    def __init__(self, background: Background, profile: DeviceProfile, begins_ns: int) -> None:
        if profile.native:
            raise BadInput(
                "background: a native device has no pass times, so it cannot be shared in time; use a device profile"
            )
        self.busy_ns = 0
        self.passes = 0
        self._profile = profile
        self._arrivals: Iterator[tuple[int, int, int]] = background.requests()
        self._begins_ns = begins_ns
        self._budget = min(TOKEN_BUDGET, profile.max_pass_tokens)
        self._most = min(background.max_batch, self._budget)
        capacity = profile.kv_capacity_tokens
        self._capacity = None if capacity is None else int(capacity * background.kv_share)
        self._waiting: deque[tuple[int, int]] = deque()  # input and output tokens, not admitted
        self._prompts: deque[list[int]] = deque()  # of admitted ones: tokens left, tokens, output tokens, reserved
        self._ends: list[tuple[int, int, int]] = []  # of decoding ones: their last pass, tokens then, reserved
        self._cached = 0  # tokens of all that are decoding
        self._held = 0  # tokens that admitted ones may come to hold
        self._free_ns = begins_ns
        self._next = self._after()
        self._queued_ns = self._next[0]  # when their next pass stands in line
        self._sampled = begins_ns, 0, 0  # when, and what they had taken until then, in so many passes

    def sample(self, now_ns: int, free_ns: int) -> DeviceSample | None:
        """`free_ns`: as of `start`. Asking changes nothing of what `start` says."""
        since_ns, busy_ns, passes = self._sampled
        if now_ns <= since_ns:
            return None
        self.start(now_ns, free_ns)
        busy_ns, passes = self.busy_ns - busy_ns, self.passes - passes
        self._sampled = now_ns, self.busy_ns, self.passes
        share = min(1.0, busy_ns / (now_ns - since_ns))
        return DeviceSample(share, busy_ns / passes / NS_PER_MS if passes else 0.0)

    def start(self, submitted_ns: int, free_ns: int) -> int:
        """When a job can start that is submitted then to a device that our other jobs leave free from `free_ns` on.

        Jobs are submitted in the order of their times.
        """
        free_ns = max(free_ns, self._free_ns)
        while self._queued_ns < submitted_ns:
            began_ns = max(self._queued_ns, free_ns)
            took_ns = self._pass(began_ns)
            self.busy_ns += took_ns
            self.passes += 1
            free_ns = self._free_ns = began_ns + took_ns
            busy = self._ends or self._prompts or self._waiting
            self._queued_ns = free_ns if busy else max(free_ns, self._next[0])
        return max(submitted_ns, free_ns)

    def _after(self) -> tuple[int, int, int]:
        at_ns, tokens, output = next(self._arrivals)
        return self._begins_ns + at_ns, tokens, output

    def _pass(self, at_ns: int) -> int:
        """One pass over all that run; how long it takes."""
        while self._next[0] <= at_ns:
            self._waiting.append(self._next[1:])
            self._next = self._after()
        self._admit()
        decoding = len(self._ends)
        new, pairs, cached, requests = decoding, self._cached + decoding, self._cached, decoding
        self._cached += decoding  # each has one token more
        number = self.passes
        while self._ends and self._ends[0][0] <= number:
            _, tokens, reserved = heappop(self._ends)
            self._cached -= tokens
            self._held -= reserved
        left = self._budget - decoding
        while left > 0 and self._prompts:
            prompt = self._prompts[0]
            fed, before = min(left, prompt[0]), prompt[1] - prompt[0]
            new, pairs, cached = new + fed, pairs + fed * (fed + before), cached + before
            requests += 1
            left -= fed
            prompt[0] -= fed
            if prompt[0]:
                break
            self._prompts.popleft()
            self._decode(number, *prompt[1:])
        return round(self._profile.total_ms(new, pairs, cached, requests) * NS_PER_MS)

    def _admit(self) -> None:
        """First come, first served, as far as memory and batch reach; one that alone is too large gets all there is."""
        while self._waiting and len(self._ends) + len(self._prompts) < self._most:
            tokens, output = self._waiting[0]
            needs = tokens + output
            if self._capacity is not None:
                needs = min(needs, self._capacity)
                if self._held + needs > self._capacity:
                    return
            self._waiting.popleft()
            self._held += needs
            self._prompts.append([tokens, tokens, output, needs])

    def _decode(self, number: int, tokens: int, output: int, reserved: int) -> None:
        """A prompt is in, and with it the first token of the answer is out."""
        if output == 1:
            self._held -= reserved
            return
        self._cached += tokens
        heappush(self._ends, (number + output - 1, tokens + output - 1, reserved))
