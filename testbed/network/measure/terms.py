"""What links, as they are specified, allow a measurement of them to be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from testbed.network.measure.probe import PairSample, verify
from testbed.network.measure.roundtrips import Expected, Leg, burst_share, expected
from testbed.network.spec.fabric import Link, Pair


class Terms(NamedTuple):
    """What the links in force allow a measurement to be."""

    lossy: frozenset[Pair]
    jitter_ms: dict[Pair, float]  # of round trips, where there is any
    legs: dict[Pair, Leg]

    @classmethod
    def of(cls, links: Sequence[Link]) -> Terms:
        losing = [(link.src, link.dst) for link in links if link.loses]
        jitter = {(link.src, link.dst): link.jitter_ms for link in links}
        return cls(
            lossy=frozenset((a, b) for src, dst in losing for a, b in ((src, dst), (dst, src))),
            jitter_ms={(a, b): own + jitter[b, a] for (a, b), own in jitter.items() if own + jitter[b, a]},
            legs={(link.src, link.dst): leg_of(link) for link in links},
        )

    def reasons(self, samples: Sequence[PairSample]) -> list[str]:
        """Why these samples do not fit the links."""
        laws, jitter_ms = {}, {}
        for one in samples:
            pair = (one.src, one.dst)
            if (law := self.law(pair, one.sent)) is not None:
                laws[pair] = law
            if pair in self.jitter_ms:
                jitter_ms[pair] = self.jitter_ms[pair]
        return verify(samples, self.lossy, jitter_ms, laws)

    def law(self, pair: Pair, probes: int) -> Expected | None:
        """Of so many round trips; None: one number is expected, and every probe, or one of the two legs is unknown."""
        there, back = self.legs.get(pair), self.legs.get(pair[::-1])
        if there is None or back is None or (there.plain and back.plain):
            return None
        return expected(there, back, probes)

    def flawless(self, samples: Sequence[PairSample]) -> bool:
        """No probe was lost, and none, not one in a hundred, was later than a 99th percentile may be.

        Never so where losses are specified: what comes back may be too little for a 99th percentile.
        """
        if any(one.received < one.sent or (one.src, one.dst) in self.lossy for one in samples):
            return False
        return not self.reasons([replace(one, p99_ms=max(one.rtts_ms)) for one in samples])


def leg_of(link: Link) -> Leg:
    """The link as probes meet it."""
    loss, memory = link.loss, 1.0
    if (burst := link.burst_loss) is not None:
        loss, memory = burst_share(burst.p, burst.r, burst.loss_bad, burst.loss_good)
    return Leg(link.one_way_ms, link.jitter_ms, link.reorder, link.rate_bps, loss, memory)
