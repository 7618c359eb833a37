"""A load in numbers that can be shown: its rate over time, quantiles of its lengths, its figures."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.workload.load.figures import counts, figures, quantile
from testbed.workload.load.profile import Profile, Quantiles, Stream
from testbed.workload.load.source import Load


def rates(load: Load, parts: int) -> list[float]:
    """Requests per second in equal parts of its time: the mean of a profile, the requests of a trace."""
    part_s = load.seconds / parts
    if isinstance(load.of, Profile):
        return [
            sum(_mass(one, part_s * (number + 1)) - _mass(one, part_s * number) for one in load.of.streams) / part_s
            for number in range(parts)
        ]
    times = [one.at_s for one in load.of.requests]
    return [one / part_s for one in counts(times, part_s, 0.0, part_s * (parts + 0.5))]


def lengths(load: Load, percents: Sequence[int]) -> dict[str, dict[int, float]]:
    """Tokens at these shares, by side."""
    if isinstance(load.of, Profile):
        given = {"input": load.of.lengths.input, "output": load.of.lengths.output}
        return {side: {share: _tokens(one, share / 100) for share in percents} for side, one in given.items()}
    sides = {
        "input": sorted(one.input_tokens for one in load.of.requests),
        "output": sorted(one.output_tokens for one in load.of.requests),
    }
    return {side: {share: quantile(all_of, share / 100) for share in percents} for side, all_of in sides.items()}


def figures_of(load: Load) -> dict[str, float]:
    """What a profile states of its source, or what a trace has."""
    if isinstance(load.of, Profile):
        return dict(load.of.figures)
    return figures(load.of.requests, 0.0, load.seconds)


def _mass(stream: Stream, at_s: float) -> float:
    """Requests until then."""
    whole, rest = divmod(at_s, stream.rate.step_s)
    steps = stream.rate.requests
    step = min(int(whole), len(steps))
    return sum(steps[:step]) + (steps[step] * rest / stream.rate.step_s if step < len(steps) else 0.0)


def _tokens(given: Quantiles, share: float) -> float:
    place = next(number for number, (at, _) in enumerate(given.quantiles) if at >= share)
    if place == 0:
        return given.quantiles[0][1]
    (low, fewer), (high, more) = given.quantiles[place - 1], given.quantiles[place]
    return fewer + (more - fewer) * (share - low) / (high - low)
