"""Random effects on the packets of one relayed link: loss, burst loss, reordering, jitter.

Pure: the draws come from a generator of the link's own, made from the run's seed and the link's name, so the same
sequence of packets meets the same fate in every run. Every packet draws the same four numbers whichever effects are
on, so that switching one on moves no draw of another.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from testbed.network.spec.fabric import BurstLoss


class Chances(NamedTuple):
    """The effects of one link; the default has none. `loss` counts only without `burst_loss`."""

    loss: float = 0.0
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0
    jitter_ns: int = 0

    @property
    def keep_order(self) -> bool:
        """First in, first out: later packets wait for earlier ones."""
        return not (self.reorder or self.jitter_ns)


NONE = Chances()


class Fates:
    """One link's packets, one after the other."""

    __slots__ = ("_bad", "_random")

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._bad = False  # state of the Gilbert-Elliott chain; it goes on through changes of the link

    def next_delay_ns(self, chances: Chances, delay_ns: int) -> int | None:
        """The delay of the next packet on a link of `delay_ns`; None: it is lost."""
        draw = self._random.random
        loss, step, order, spread = draw(), draw(), draw(), draw()
        if self._is_lost(chances, loss, step):
            return None
        if order < chances.reorder:
            return 0
        if chances.jitter_ns:
            return max(0, delay_ns + round((2 * spread - 1) * chances.jitter_ns))
        return delay_ns

    def _is_lost(self, chances: Chances, loss: float, step: float) -> bool:
        burst = chances.burst_loss
        if burst is None:
            return loss < chances.loss
        was_bad = self._bad
        self._bad = step >= burst.r if was_bad else step < burst.p
        return loss < (burst.loss_bad if was_bad else burst.loss_good)
