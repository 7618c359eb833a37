"""What happens to the packets of one directed link: the stages of the emulated links, in their order.

A cut drops; then come the rate with its buffer, chance (loss, bursts, reordering, jitter: the relay's own draws) and
the delay at the moment of sending. Without jitter and reordering a link is first in, first out.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from testbed.network.relay.impair import NONE, Chances, Fates
from testbed.simulation.links import DelaySeries, LinkSpec
from testbed.system.units import NS_PER_MS, NS_PER_S

BIT_NS_PER_BYTE = 8 * NS_PER_S


class _State(NamedTuple):
    """The link between two events."""

    up: bool
    delay_ns: int
    series: DelaySeries | None
    rate_bps: int | None
    buffer_bytes: int
    chances: Chances

    @classmethod
    def of(cls, spec: LinkSpec) -> _State:
        made = Chances(spec.loss, spec.burst_loss, spec.reorder, round(spec.jitter_ms * NS_PER_MS))
        chances = NONE if made == NONE else made
        return cls(spec.up, spec.delay_ns(0), spec.series, spec.rate_bps, spec.most_waiting_bytes, chances)


class Path:
    """`seed` names the link's generator, so that traffic on one link moves nothing on another."""

    def __init__(self, spec: LinkSpec, seed: str) -> None:
        over_time = spec.over_time()
        self._since = [since_ns for since_ns, _ in over_time]
        self._states = [_State.of(one) for _, one in over_time]
        self._fates = Fates(f"{seed}/fates") if any(one.chances is not NONE for one in self._states) else None
        self._free_ns = 0  # when the last bit of what was accepted so far has left
        self._last_ns = 0

    def arrives_ns(self, now_ns: int, size_bytes: int) -> int | None:
        """Sends a packet now; when it arrives, None if it does not."""
        state = self._states[bisect_right(self._since, now_ns) - 1]
        if not state.up:
            return None
        delay_ns: int | None = state.delay_ns if state.series is None else state.series(now_ns)
        assert delay_ns is not None
        if self._fates is not None:
            delay_ns = self._fates.next_delay_ns(state.chances, delay_ns)
        leaves_ns = now_ns
        if state.rate_bps is not None:
            starts_ns = max(now_ns, self._free_ns)
            if (starts_ns - now_ns) * state.rate_bps // BIT_NS_PER_BYTE + size_bytes > state.buffer_bytes:
                return None
            # rounded up, so that the rate is never exceeded
            leaves_ns = self._free_ns = starts_ns + -(-size_bytes * BIT_NS_PER_BYTE // state.rate_bps)
        if delay_ns is None:
            return None
        at_ns = leaves_ns + delay_ns
        if state.chances.keep_order:
            at_ns = max(at_ns, self._last_ns)
        self._last_ns = max(at_ns, self._last_ns)
        return at_ns
