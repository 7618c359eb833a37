"""Makes a profile of a trace: the rate in steps, how uneven gaps are inside them, and quantiles of the lengths.

Step and unevenness are chosen so that what is drawn from the profile is like the trace: of some steps, the gaps' own
coefficient of variation at each, by the distance of the drawn figures from the trace's. No figure of the trace is
changed: they stand in the profile as they were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from testbed.files.reading import refuse_file, shown
from testbed.files.yamlfile import filling
from testbed.workload.load.asked import Asked
from testbed.workload.load.figures import KEY, counts, figures, quantile
from testbed.workload.load.generate import times_of
from testbed.workload.load.profile import MOST_STEP_S, Lengths, LoadSource, Profile, Quantiles, Rate, Stream
from testbed.workload.load.read import read_trace

SHARES = (
    0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999, 1.0,
)  # fmt: skip
STEPS_S = (300.0, 60.0, 30.0, 20.0, 10.0, 3.0, 1.0)  # of a trace of months they are as long as MOST_STEPS has it
CVS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0)
MOST_STEPS = 4000  # of a rate: a profile is small
SEEDS = (0, 1, 2)
BETTER = 0.01  # than longer steps, to be worth more numbers
FLOOR = 0.1  # a figure near 0 is compared as if it were this


def fitted(trace: Path, citation: str, licence: str) -> Profile:
    """Of a trace's file. Raises BadInput, as for one whose requests come all at once."""
    found = read_trace(trace)
    if found.seconds <= 0:
        refuse_file(trace, "all its requests come at the same time; a profile needs two times at least")
    if found.seconds > MOST_STEPS * MOST_STEP_S:
        years = found.seconds / (365.25 * 86_400)
        refuse_file(trace, f"is {years:.0f} years long; a profile has {MOST_STEPS} steps of {MOST_STEP_S:g} s at most")
    with filling("--citation, --licence", LoadSource):
        source = LoadSource(
            citation=citation, licence=licence, date=found.starts or "not known",
            changes="; ".join(["requests counted in steps, lengths as quantiles", *found.about.values()]),
        )  # fmt: skip
    with filling(trace, Profile):
        return profile_of(found.requests, f"{shown(found.name)}, {len(found.requests)} requests", source, found.starts)


def profile_of(requests: Sequence[Asked], description: str, source: LoadSource, starts: str | None) -> Profile:
    """Of a trace's requests, earliest first, at least two."""
    times = [one.at_s for one in requests]
    lengths = Lengths(
        input=quantiles_of([one.input_tokens for one in requests]),
        output=quantiles_of([one.output_tokens for one in requests]),
        rank_correlation=round(rank_correlation(requests), 3),
    )
    best: tuple[float, Profile] | None = None
    whole_s = times[-1] * len(times) / (len(times) - 1)  # a mean gap after the last, as a generator has
    for steps in numbers_of_steps(whole_s):
        step_s = float(f"{whole_s / steps:.9g}")  # as its file will say
        rate = Rate(step_s=step_s, requests=tuple(map(float, counts(times, step_s, 0.0, step_s * (steps + 0.5)))))
        measured = {
            key: value
            for key, value in figures(requests, 0.0, step_s * steps).items()
            if not key.startswith("autocorrelation") or told_from_none(key, value, step_s * steps)
        }
        for cv in CVS:
            made = Profile(
                description=description, kind="measured", source=source, starts=starts,
                clock="utc" if starts else "unknown",
                streams=(Stream(rate=rate, gap_cv=cv),), lengths=lengths, figures=dict(measured),
            )  # fmt: skip
            away = distance(made, math.inf if best is None else best[0])
            if best is None or away < best[0] - BETTER:
                best = away, made
    assert best is not None
    return best[1]


def numbers_of_steps(whole_s: float) -> list[int]:
    """What a rate over this time is tried with, coarse first; at least one."""
    numbers = [max(1, round(whole_s / about_s)) for about_s in STEPS_S]
    return list(dict.fromkeys(steps for steps in numbers if steps <= MOST_STEPS)) or [MOST_STEPS]


def told_from_none(key: str, value: float, seconds: float) -> bool:
    """Whether an autocorrelation is more than two standard errors of one where there is none."""
    match = KEY.fullmatch(key)
    assert match is not None
    return abs(value) > 2 / math.sqrt(seconds / float(match["bin"]))


def distance(profile: Profile, enough: float = math.inf) -> float:
    """How far the worst of the figures of arrivals is from the profile's own, as a share, in the mean of some draws.

    Where one draw alone is further away than `enough` by half, that is the answer.
    """
    keys = [key for key in profile.figures if key == "gap_cv" or key.startswith("autocorrelation")]
    draws: list[dict[str, float]] = []
    away = 0.0
    for seed in SEEDS:
        drawn = [Asked(at_s, 1, 1) for at_s in times_of(profile, seed, 0.0, profile.seconds)]
        draws.append(figures(drawn, 0.0, profile.seconds, keys))
        away = max((_apart(profile.figures[key], [one.get(key, 0.0) for one in draws]) for key in keys), default=0.0)
        if away > 1.5 * enough:
            break
    return away


def _apart(value: float, drawn: Sequence[float]) -> float:
    return abs(math.fsum(drawn) / len(drawn) - value) / max(abs(value), FLOOR)


def quantiles_of(lengths: Sequence[int]) -> Quantiles:
    ordered = sorted(lengths)
    return Quantiles(quantiles=tuple((share, round(quantile(ordered, share), 1)) for share in SHARES))


def rank_correlation(requests: Sequence[Asked]) -> float:
    """Spearman's, equal lengths in the order of the trace; 0 where nothing varies."""
    ranks = [
        _ranks([one.input_tokens for one in requests]),
        _ranks([one.output_tokens for one in requests]),
    ]
    middle = (len(requests) - 1) / 2
    spread = math.fsum((rank - middle) ** 2 for rank in ranks[0])
    both = math.fsum((one - middle) * (other - middle) for one, other in zip(*ranks, strict=True))
    return both / spread if spread else 0.0


def _ranks(values: Sequence[int]) -> list[int]:
    ranks = [0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        ranks[place] = rank
    return ranks
