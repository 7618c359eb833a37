"""May this run's numbers be trusted? A pure function from the log to yes or no, with a reason for every no.

Rule: a defect is stated, never repaired or averaged away. All limits stand in one place, `Thresholds`, each with its
why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import permutations
from typing import Any

import pandas as pd

from testbed.network.measure import tolerances
from testbed.network.measure.probe import beyond_law
from testbed.network.measure.terms import Terms
from testbed.network.spec.fabric import Pair
from testbed.network.spec.topology import link_between
from testbed.results import during, heldclock, tcp
from testbed.results.conservation import broken
from testbed.results.lateness import HANDED_ON, TOOK_LONGER, by_device, too_late
from testbed.results.metrics.base import milliseconds
from testbed.results.reasons import Cause, Reason, some
from testbed.results.recorded import recorded_compute
from testbed.results.sampling import unverified_by_choice
from testbed.results.store import RunData


@dataclass(frozen=True)
class Thresholds:
    """What a valid run stays within. At the limit is still valid."""

    link_median_error_ms: float = tolerances.LINK_MEDIAN_MS
    link_median_error_share: float = tolerances.LINK_MEDIAN_SHARE
    link_p99_error_ms: float = tolerances.LINK_P99_MS
    replay_late_ms: float = tolerances.REPLAY_LATE_MS
    # Of each device. Pacing is honest only while the real pass is faster than the emulated one; 1 % moves no median.
    overrun_step_share: float = 0.01
    overrun_time_share: float = 0.01
    # Beyond this the load generator, not the system, shapes the arrivals.
    dispatch_delay_ms: float = 5.0


@dataclass(frozen=True)
class Counts:
    """What the log cannot know of itself: the fabric's counters, the nodes', and how much was asked for."""

    unmatched_packets: int
    requests_per_policy: int  # over all repeats
    dropped_packets: int = 0  # by a queue's limit; a kernel's queue with a loss model counts all it drops as lost
    lost_packets: int = 0  # by a loss model, as asked
    cut_packets: int = 0  # on links that were cut, as asked
    stale_messages: int = 0  # of an earlier phase, ignored on arrival


@dataclass(frozen=True)
class Validity:
    """`advice` has a line for each reason, what to do about it."""

    valid: bool
    reasons: tuple[str, ...]
    advice: tuple[str, ...]


LIMITS = Thresholds()
AFTER, REPEATED = "after", "again after"  # phases of the link checks at the end of a run


def judge(run: RunData, counts: Counts, limits: Thresholds = LIMITS) -> Validity:
    """Every reason why the run must not be trusted; none means it may be."""
    found = (
        *_caused(Cause.UNFINISHED, _requests(run, counts)),
        *_caused(Cause.WRONG_OUTPUT, _lossless(run)),
        *_caused(Cause.LOG, (f"the log contradicts itself: {law}" for law in broken(run))),
        *(_network(run, counts, limits) if run.manifest["engine"] == "emulation" else ()),
        *_caused(Cause.UNSHAPED, _unmatched(counts)),
        *_overruns(run, limits),
        *_caused(Cause.LATE_REQUESTS, _dispatch(run.requests, limits)),
    )
    return Validity(not found, tuple(one.text for one in found), tuple(one.advice for one in found))


def _caused(cause: Cause, reasons: Iterable[str]) -> Iterator[Reason]:
    return (Reason(cause, text) for text in some(reasons))


def link_tolerance_ms(specified_ms: float, limits: Thresholds = LIMITS) -> float:
    """How far a link's median may be from its specification."""
    return max(limits.link_median_error_ms, limits.link_median_error_share * specified_ms)


def _requests(run: RunData, counts: Counts) -> Iterator[str]:
    for entry in run.manifest["policies"]:
        finished = int((run.requests["policy"] == entry["label"]).sum())
        if finished != counts.requests_per_policy:
            given_up = len(run.manifest.get("given_up", {}).get(entry["label"], ()))
            asked = f"; {given_up} timed out as expected: an event cut off what they needed" if given_up else ""
            yield f"{entry['label']}: {finished} of {counts.requests_per_policy} requests finished{asked}"


def _lossless(run: RunData) -> Iterator[str]:
    chosen = run.requests["policy"].isin(unverified_by_choice(run.manifest["policies"]))
    different = run.requests[run.requests["lossless"].eq(False) & ~chosen]
    for policy, rows in different.groupby("policy", sort=False):
        yield f"{policy}: {len(rows)} of its outputs differ from target-only decoding"


def terms_of(run: RunData) -> Terms:
    """What the links, as the manifest and their rows specify them, allow a measurement of them to be."""
    topology, placement = run.manifest["topology"], run.manifest["node_placement"]
    one_way_ms = dict(
        zip(zip(run.links["src"], run.links["dst"], strict=True), run.links["one_way_specified_ms"], strict=True)
    )
    between = cache(partial(link_between, topology, one_way_ms=0.0))
    links = [
        replace(between(placement[a], placement[b]), src=a, dst=b, one_way_ms=one_way_ms.get((a, b), 0.0))
        for a, b in permutations(placement, 2)
    ]
    terms = Terms.of(links)
    return terms._replace(legs={pair: leg for pair, leg in terms.legs.items() if pair in one_way_ms})


def not_judged(run: RunData) -> list[str]:
    """What of the links no check could judge, as they are specified: a sentence for each pair."""
    if run.manifest["engine"] != "emulation" or run.links.empty:
        return []
    terms, said = terms_of(run), []
    for pair in _by_pair(run.links, sent=("sent", "max")):
        src, dst, sent = pair.src, pair.dst, pair.sent
        law = terms.law((src, dst), sent)
        if law is None:
            continue
        back = f"{law.returning:.0f} of {sent} probes are expected back"
        if law.may_all_be_lost:
            said.append(f"link {src} to {dst}: not judged, as {back}")
        elif not law.has_p99:
            said.append(f"link {src} to {dst}: its RTT p99, as {back}")
    return some(said)


def _network(run: RunData, counts: Counts, limits: Thresholds) -> Iterator[Reason]:
    terms, idle = terms_of(run), idle_pairs(run)
    if run.links.empty:
        yield Reason(Cause.LINK_UNKNOWN, "no link was checked against its specification")
    counting = checks_that_count(run.links)
    yield from _caused(Cause.LINK, _links(counting, limits, terms))
    yield from _caused(Cause.LINK_UNKNOWN, _unknown_tails(counting, idle, terms))
    yield from _caused(Cause.LINK, _drift(counting, limits, terms))
    yield from _caused(Cause.LINK_DURING, _during(run, limits))
    yield from _caused(Cause.LINK_LATE, _late_changes(run.replay, limits))
    yield from _caused(Cause.CLOCK, heldclock.reasons(run.manifest))
    yield from _caused(Cause.TCP, tcp.reasons(run.manifest))
    if counts.dropped_packets > 0 and not _has_rate(run.manifest):  # a link with a rate has a buffer that may be full
        dropped = f"packets dropped by queues of links specified without a rate: {counts.dropped_packets}"
        yield Reason(Cause.DROPPED, dropped)


def _has_rate(manifest: Mapping[str, Any]) -> bool:
    """Whether any link's rate is limited, at any time: the fabric counts all links together."""
    events = manifest["scenario"].get("events", ())
    rates = manifest["topology"].get("rate_bps", {}).values()
    return any(any(row.values()) for row in rates) or any(event["rate_mbit"] for event in events)


def _during(run: RunData, limits: Thresholds) -> Iterator[str]:
    """The in-run probe, against the links at each moment."""
    windows = during.windows(run.probes)
    allowed = windows["specified_ms"].map(lambda specified_ms: link_tolerance_ms(specified_ms, limits))
    beyond = windows[windows["error_ms"].abs() > allowed + 1e-9]
    if len(beyond):
        worst = max(beyond.to_dict("records"), key=lambda window: abs(window["error_ms"]))
        yield (
            f"links during the run: {len(beyond)} of {len(windows)} windows of the in-run probe were out of "
            f"tolerance, worst {worst['src']} to {worst['dst']}, {worst['policy']}: median RTT "
            f"{worst['error_ms']:+.2f} ms off"
        )
    if lost := during.lost(run.probes):
        yield f"links during the run: {lost} of {len(run.probes)} in-run probes lost on links specified without loss"


def _late_changes(replay: pd.DataFrame, limits: Thresholds) -> Iterator[str]:
    late_ms = during.late_ms(replay)
    if late_ms is not None and _beyond(late_ms, limits.replay_late_ms):
        yield (
            f"links changed up to {late_ms:.1f} ms late (99th percentile, or the latest if there are few), allowed "
            f"{limits.replay_late_ms:.1f} ms"
        )


def idle_pairs(run: RunData) -> frozenset[Pair]:
    """Directed pairs of a large network that carried no message: of those, a few probes say enough."""
    nodes = run.manifest["node_placement"]
    if len(nodes) * (len(nodes) - 1) <= tolerances.MANY_PAIRS:
        return frozenset()
    spoke = set(zip(run.messages["src"], run.messages["dst"], strict=True))
    return frozenset((a, b) for a, b in permutations(nodes, 2) if (a, b) not in spoke and (b, a) not in spoke)


def _links(links: pd.DataFrame, limits: Thresholds, terms: Terms) -> Iterator[str]:
    for row in links.to_dict("records"):
        pair = f"link {row['src']} to {row['dst']} ({row['phase']} the run)"
        law = terms.law((row["src"], row["dst"]), row["sent"])
        if row["received"] == 0:
            if law is None or not law.may_all_be_lost:
                yield f"{pair}: none of {row['sent']} probe packets came back"
            continue
        if row["received"] < row["sent"] and (row["src"], row["dst"]) not in terms.lossy:
            yield f"{pair}: {row['sent'] - row['received']} of {row['sent']} probe packets lost"
        if law is not None:
            p99_ms = None if pd.isna(row["p99_ms"]) else row["p99_ms"]
            yield from (f"{pair}: {reason}" for reason in beyond_law(law, row["median_ms"], p99_ms))
            continue
        jitter_ms = terms.jitter_ms.get((row["src"], row["dst"]), 0.0)
        of_median_ms, of_tail_ms = tolerances.jitter_allowance_ms(jitter_ms, row["received"])
        allowed = link_tolerance_ms(row["specified_ms"], limits) + of_median_ms
        allowed_tail = limits.link_p99_error_ms + of_tail_ms
        error = row["median_ms"] - row["specified_ms"]
        if _beyond(abs(error), allowed):
            yield f"{pair}: median RTT {row['median_ms']:.2f} ms is {error:+.2f} ms off, allowed {allowed:.2f} ms"
        tail = row["p99_ms"] - row["specified_ms"]
        if _beyond(tail, allowed_tail):
            yield f"{pair}: RTT p99 is {tail:+.2f} ms off, allowed {allowed_tail:.2f} ms"


def checks_that_count(links: pd.DataFrame) -> pd.DataFrame:
    """All checks, but of one that was repeated only the better: the one whose worst tail is shorter.

    What shows in one of two checks in a row came from the machine at that moment; what belongs to a link shows in both.
    """
    if REPEATED not in set(links["phase"]):
        return links
    tails = (links["p99_ms"] - links["specified_ms"]).groupby(links["phase"]).max()
    worse = AFTER if tails[AFTER] > tails[REPEATED] else REPEATED
    return links[links["phase"] != worse]


def _unknown_tails(links: pd.DataFrame, idle: Collection[Pair], terms: Terms) -> Iterator[str]:
    """Fewer than 100 packets have no 99th percentile (NaN in the log); one check of each pair must have had enough.

    But of `idle` pairs, and of those that are to lose too many.
    """
    came = links[links["received"] > 0]
    for pair in _by_pair(came, sent=("sent", "max"), received=("received", "max"), tails=("p99_ms", "count")):
        if pair.tails or (pair.src, pair.dst) in idle:
            continue
        law = terms.law((pair.src, pair.dst), pair.sent)
        if law is None or law.has_p99:
            most = f"at most {pair.received} probe packets came back in one check"
            yield f"link {pair.src} to {pair.dst}: RTT p99 not measured: {most}"


def _drift(links: pd.DataFrame, limits: Thresholds, terms: Terms) -> Iterator[str]:
    """Between checks of a pair the error, not the delay, must stay: the specification may move with a trace."""
    measured = links[links["received"] > 0]
    errors = measured.assign(error=measured["median_ms"] - measured["specified_ms"])
    for pair in _by_pair(
        errors,
        sent=("sent", "min"),
        received=("received", "min"),
        specified=("specified_ms", "max"),
        least=("error", "min"),
        most=("error", "max"),
    ):
        if terms.law((pair.src, pair.dst), pair.sent) is not None:
            continue  # each check was held against the law, which has no one middle
        drift = pair.most - pair.least
        by_chance_ms, _ = tolerances.jitter_allowance_ms(terms.jitter_ms.get((pair.src, pair.dst), 0.0), pair.received)
        allowed = link_tolerance_ms(pair.specified, limits) + 2 * by_chance_ms
        if _beyond(drift, allowed):
            yield (
                f"link {pair.src} to {pair.dst}: median RTT drifted by {drift:.2f} ms during the run, "
                f"allowed {allowed:.2f} ms"
            )


def _by_pair(links: pd.DataFrame, **wanted: tuple[str, str]) -> Iterator[Any]:
    """Each pair's `src` and `dst`, and what is wanted of its rows: a column and how it becomes one value.

    In one go, as 250 nodes have 62,250 pairs: a table for each of them took a minute of processor time.
    """
    return links.groupby(["src", "dst"], sort=False).agg(**wanted).reset_index().itertuples(index=False)


def _unmatched(counts: Counts) -> Iterator[str]:
    if counts.unmatched_packets > 0:
        yield f"unmatched packets, which bypassed their link's delay: {counts.unmatched_packets}"


def _overruns(run: RunData, limits: Thresholds) -> Iterator[Reason]:
    steps = during.of_running_nodes(run.steps, run.replay)
    if not (steps["overrun_ms"] > 0).any():
        return
    recorded = recorded_compute(run.manifest)
    what, cause = (HANDED_ON, Cause.LATE_ANSWERS) if recorded else (TOOK_LONGER, Cause.LATE_PASSES)
    yield from _caused(cause, too_late(by_device(steps), limits.overrun_step_share, limits.overrun_time_share, what))


def _dispatch(requests: pd.DataFrame, limits: Thresholds) -> Iterator[str]:
    delay = milliseconds(requests["sent_ns"] - requests["scheduled_ns"]).median()
    if delay > limits.dispatch_delay_ms:
        yield f"requests left {delay:.1f} ms late (median), allowed {limits.dispatch_delay_ms:.1f} ms"


def _beyond(value: float, limit: float) -> bool:
    """Greater, but not by the rounding of a subtraction of milliseconds."""
    return value > limit + 1e-9
