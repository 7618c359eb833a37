"""Measures every link and compares it with its specification.

Rule kept: every run carries its own measured error. The measuring runs in its own process (`probe_process`), so
that neither this interpreter's threads nor its garbage collection show up as delay; this module prepares the question
and does the statistics.

RTT here is the sum of the two one-way delays of one packet and its echo, from the sender's clock to the receiving
kernel's time stamp; how long the echoing program took in between is left out, as it is not the network's.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from testbed.errors import MachineCannot, RunInvalid
from testbed.network.measure.roundtrips import Expected
from testbed.network.measure.roundtrips import interval_s as spaced_s
from testbed.network.measure.tolerances import LINK_P99_MS, jitter_allowance_ms, link_median_tolerance_ms
from testbed.network.spec.fabric import Pair, Port
from testbed.system.helper import HelperEnded, HelperProcess, HelperSilent
from testbed.system.journal import Journal

PORT_NUMBER = 7007  # UDP, inside the nodes' own namespaces
P99_PROBES = 100  # fewer have no 99th percentile, only a maximum
INTERVAL_S = 0.05


class Pace(NamedTuple):
    """Probes a second over all pairs; one is two packets. Dense ones keep a machine busy, which answers faster then."""

    least_per_s: int  # 0: none
    most_per_s: int


# In small networks what one of four nodes gets by itself, twenty a second for each directed pair (from 40 to 1,200 a
# second medians fall by 0.1 ms, docs/design.md); in large ones a few per cent of what the slowest shaper carries.
CHECK = Pace(240, 1200)
SPARSE = Pace(0, 1200)  # takes longer, so a moment in which the machine stands still meets fewer probes of a pair
LOOK = Pace(0, 6000)  # at pairs that will carry no message; what looks wrong is measured again


@dataclass(frozen=True)
class PairSample:
    """One directed link, measured. `one_way` is from src to dst.

    Times are None when undefined: nothing came back, or too little for a 99th percentile.
    """

    src: str
    dst: str
    specified_ms: float  # RTT
    median_ms: float | None
    p99_ms: float | None
    one_way_median_ms: float | None
    sent: int
    received: int
    rtts_ms: tuple[float, ...] = field(default=(), repr=False)  # every probe's, ascending
    back_median_ms: float | None = field(default=None, repr=False)  # one way, from dst to src
    legs_ns: tuple[Sequence[int], ...] = field(default=(), repr=False)  # every probe's (forward, backward)

    def seen_from_there(self) -> PairSample:
        """The pair of the other direction, by the same packets: each went both ways."""
        return replace(
            self,
            src=self.dst,
            dst=self.src,
            one_way_median_ms=self.back_median_ms,
            back_median_ms=self.one_way_median_ms,
            legs_ns=tuple((backward, forward) for forward, backward in self.legs_ns),
        )

    def with_more(self, more: PairSample) -> PairSample:
        """Both measurements of one pair as one: what was lost in either counts."""
        return summarise((self.src, self.dst), self.specified_ms, self.legs_ns + more.legs_ns, self.sent + more.sent)

    @property
    def error_ms(self) -> float | None:
        return None if self.median_ms is None else self.median_ms - self.specified_ms


def probe_links(
    ports: Sequence[Port],
    specified_ms: Mapping[Pair, float],
    count: int,
    interval_s: float = INTERVAL_S,
    journal: Journal | None = None,
    slowest_bps: int | None = None,
    pace: Pace = CHECK,
    check: Callable[[], None] = lambda: None,
    clock: str | None = None,
    dilation: float = 1.0,
) -> list[PairSample]:
    """Sends `count` probes over each pair of `specified_ms` (its RTTs), interleaved and several in flight.

    Each pair gets a probe every `interval_s`, or more or less often where all pairs together would not keep to `pace`;
    less often where they would fill the slowest link, which has the rate `slowest_bps`.
    `check` is called again and again meanwhile, and may raise. `clock`: the page of the run's, which takes `dilation`
    of the machine's time; None: the machine's. Delays are by that clock; how often probes leave is by the machine's,
    which has to carry them, but on a link with a rate, whose time is the run's.
    """
    index = {port.node: number for number, port in enumerate(ports)}
    interval_s = interval_of(len(specified_ms), pace, dilation, slowest_bps, interval_s)
    slowest_s = max(specified_ms.values(), default=0.0) / 1000
    question = {
        "nodes": [{"address": port.address, "pid": port.pid} for port in ports],
        "pairs": [[index[src], index[dst]] for src, dst in specified_ms],
        "port": PORT_NUMBER,
        "count": count,
        "clock": clock,
        "interval_ns": int(interval_s * 1e9),
        "patience_ns": int((slowest_s + 0.5) * 1e9),  # after the last probe
    }
    patience_s = (count * interval_s + slowest_s) * dilation + 60
    helper = HelperProcess("testbed.network.measure.probe_process", journal=journal, tied=True)
    try:
        helper.send(json.dumps(question).encode())
        answer = json.loads(helper.rest(patience_s, check))
    except HelperSilent as silent:
        raise RunInvalid(f"probe: the measuring process {silent}") from None
    except HelperEnded as end:
        if end.status < 0:
            raise RunInvalid(f"probe: {end}") from None
        raise MachineCannot(f"probe: {end}; see testbed doctor") from None
    finally:
        helper.end(0.0)
    return [
        summarise(pair, specified, legs, count)
        for (pair, specified), legs in zip(specified_ms.items(), answer, strict=True)
    ]


def interval_of(
    pairs: int, pace: Pace, dilation: float = 1.0, slowest_bps: int | None = None, wanted_s: float = INTERVAL_S
) -> float:
    """Seconds of the run between two probes of one of so many pairs."""
    if pace.least_per_s:
        wanted_s = min(wanted_s, pairs / pace.least_per_s)
    return spaced_s(max(wanted_s, pairs / pace.most_per_s) / dilation, slowest_bps)


def summarise(pair: Pair, specified_ms: float, legs_ns: Sequence[Sequence[int]], sent: int) -> PairSample:
    """One pair's sample from its probes' (forward, backward) one-way delays."""
    rtts = sorted((forward + backward) / 1e6 for forward, backward in legs_ns)
    if not rtts:
        return PairSample(*pair, specified_ms, None, None, None, sent, 0)
    there, back = (statistics.median(leg / 1e6 for leg in legs) for legs in zip(*legs_ns, strict=True))
    return PairSample(
        *pair, specified_ms, statistics.median(rtts), percentile_99(rtts), there, sent, len(rtts), tuple(rtts), back,
        tuple(legs_ns),
    )  # fmt: skip


def from_both_ends(samples: Sequence[PairSample]) -> list[PairSample]:
    """Each pair by the probes of both its directions: whichever node one starts from, it crosses both links."""
    by_pair = {(one.src, one.dst): one for one in samples}
    return [one.with_more(by_pair[one.dst, one.src].seen_from_there()) for one in samples]


def both_ways(samples: Sequence[PairSample]) -> list[PairSample]:
    """Each pair from both of its nodes: a packet and its echo measured both links."""
    return [way for one in samples for way in (one, one.seen_from_there())]


def clearly_right(sample: PairSample) -> bool:
    """So near to its specification that a second measurement as near to it would show no drift."""
    error_ms = sample.error_ms
    return error_ms is not None and abs(error_ms) <= link_median_tolerance_ms(sample.specified_ms) / 2


def percentile_99(values: Sequence[float]) -> float | None:
    """The smallest value that 99 % of them do not pass; None below P99_PROBES values."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1] if len(values) >= P99_PROBES else None


def pooled_p99_error_ms(samples: Sequence[PairSample]) -> float | None:
    """99th percentile of RTT minus specified RTT over the probes of all pairs together."""
    return percentile_99([rtt - sample.specified_ms for sample in samples for rtt in sample.rtts_ms])


def verify(
    samples: Sequence[PairSample],
    lossy: Collection[Pair] = (),
    jitter_ms: Mapping[Pair, float] | None = None,
    laws: Mapping[Pair, Expected] | None = None,
) -> list[str]:
    """Why these links must not be trusted; empty when they may. Pairs in `lossy` are meant to lose packets.

    `jitter_ms` is how far a round trip is meant to spread, of pairs where it is; `laws` are those of pairs whose median
    is not simply their specified RTT. The 99th percentile is judged per pair where it is defined, and over all pairs
    together always.
    """
    reasons = []
    spread, by_law = jitter_ms or {}, laws or {}
    longer = [by_law[one.src, one.dst].longest_ms - one.specified_ms for one in samples if (one.src, one.dst) in by_law]
    widest = LINK_P99_MS + max([*spread.values(), *longer], default=0.0)
    if (pooled := pooled_p99_error_ms(samples)) is not None and pooled > widest:
        reasons.append(f"links: 99th percentile of RTT error {pooled:.2f} ms, tolerance {widest:.2f} ms")
    for sample in samples:
        name = f"link {sample.src} -> {sample.dst}"
        if sample.received < sample.sent and (sample.src, sample.dst) not in lossy:
            reasons.append(f"{name}: {sample.sent - sample.received} of {sample.sent} probes lost")
        if sample.median_ms is None:
            continue
        if (law := by_law.get((sample.src, sample.dst))) is not None:
            reasons += [f"{name}: {reason}" for reason in beyond_law(law, sample.median_ms, sample.p99_ms)]
            continue
        of_median, of_tail = jitter_allowance_ms(spread.get((sample.src, sample.dst), 0.0), sample.received)
        tolerance, tail = link_median_tolerance_ms(sample.specified_ms) + of_median, LINK_P99_MS + of_tail
        if abs(sample.median_ms - sample.specified_ms) > tolerance:
            measured = f"median RTT {sample.median_ms:.2f} ms, specified {sample.specified_ms:.2f} ms"
            reasons.append(f"{name}: {measured}, tolerance {tolerance:.2f} ms")
        if sample.p99_ms is not None and sample.p99_ms - sample.specified_ms > tail:
            measured = f"99th percentile RTT {sample.p99_ms:.2f} ms, specified {sample.specified_ms:.2f} ms"
            reasons.append(f"{name}: {measured}, tolerance {tail:.2f} ms")
    return reasons


def beyond_law(law: Expected, median_ms: float, p99_ms: float | None) -> list[str]:
    """Why a pair's measurement does not fit the law of its links."""
    reasons = []
    short_of = law.least_median_ms - link_median_tolerance_ms(law.least_median_ms)
    beyond = law.most_median_ms + link_median_tolerance_ms(law.most_median_ms)
    if not short_of - 1e-9 <= median_ms <= beyond + 1e-9:
        reasons.append(f"median RTT {median_ms:.2f} ms, by the model of its links {law.about}")
    if p99_ms is not None and p99_ms > law.longest_ms + LINK_P99_MS + 1e-9:
        reasons.append(
            f"99th percentile RTT {p99_ms:.2f} ms, longest by the model of its links {law.longest_ms:.2f} ms"
        )
    return reasons
