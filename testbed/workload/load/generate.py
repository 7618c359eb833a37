"""Draws requests from a profile: the same ones for the same seed and window, on every Python.

A stream's arrivals are a renewal process in operational time: gaps have mean 1 and the stream's coefficient of
variation there, and the sum of its rates takes them to seconds. So counts follow the rate however it changes, and what
is left to chance is as uneven as the gaps are. Of `random.Random` only `random()` is used, whose sequence is fixed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from heapq import merge
from itertools import accumulate
from random import Random
from statistics import NormalDist

from testbed.workload.load.asked import Asked
from testbed.workload.load.profile import Lengths, Profile, Quantiles, Stream

_NORMAL = NormalDist()
BLOCK = 100  # requests


def generate(profile: Profile, seed: int | str, begin_s: float, end_s: float, scale: float = 1.0) -> Iterator[Asked]:
    """Requests from `begin_s` to `end_s` of the profile's own time, earliest first; `at_s` counts from `begin_s`.

    `scale` times as many as in the profile. The profile starts again whenever it ends.
    """
    lengths = LengthDraw(profile.lengths)
    random = Random(f"load/{seed}/lengths/{begin_s:g}")
    for at_s in times_of(profile, seed, begin_s, end_s, scale):
        yield Asked(at_s - begin_s, *lengths.draw(random))


def times_of(profile: Profile, seed: int | str, begin_s: float, end_s: float, scale: float = 1.0) -> Iterator[float]:
    """When they come, in the profile's own time."""
    return merge(
        *(
            arrivals(stream, Random(f"load/{seed}/{number}/{begin_s:g}"), begin_s, end_s, scale)
            for number, stream in enumerate(profile.streams)
        )
    )


def arrivals(stream: Stream, random: Random, begin_s: float, end_s: float, scale: float) -> Iterator[float]:
    """Times of one stream's requests."""
    step_s, period_s = stream.rate.step_s, stream.rate.seconds
    masses = [0.0, *accumulate(count * scale for count in stream.rate.requests)]
    turn = math.floor(begin_s / period_s)

    def mass_at(at_s: float) -> float:
        step, rest = divmod(at_s - turn * period_s, step_s)
        number = min(int(step), len(masses) - 2)
        return masses[number] + (masses[number + 1] - masses[number]) * rest / step_s

    mass = mass_at(begin_s)
    cv = stream.cv(max(0, bisect_right(masses, mass) - 1) % len(stream.rate.requests))
    mass += gap(random, cv) * random.random()  # where in a gap the window begins
    while True:
        while mass >= masses[-1]:
            mass -= masses[-1]
            turn += 1
        step = bisect_right(masses, mass) - 1
        inside = (mass - masses[step]) / (masses[step + 1] - masses[step])
        at_s = turn * period_s + (step + inside) * step_s
        if at_s >= end_s:
            return
        yield at_s
        mass += gap(random, stream.cv(step))


def gap(random: Random, cv: float) -> float:
    """A positive number with mean 1 and this coefficient of variation.

    Up to 1 a constant and an exponential part; above, one of two exponentials whose means are balanced.
    """
    exponential = -math.log1p(-random.random())
    if cv <= 1:
        return 1.0 - cv + cv * exponential
    square = cv * cv
    share = (1 + math.sqrt((square - 1) / (square + 1))) / 2
    rate = 2 * share if random.random() < share else 2 * (1 - share)
    return exponential / rate


class LengthDraw:
    """Input and output tokens of one request after another.

    Of each `BLOCK` requests every one has another part of the distribution, in random order: what is drawn has the
    quantiles of the profile after hundreds of requests already.
    """

    def __init__(self, lengths: Lengths) -> None:
        self._input, self._output = _Inverse(lengths.input), _Inverse(lengths.output)
        # of the normal variables whose ranks are correlated as those of the lengths
        self._rho = 2 * math.sin(math.pi * lengths.rank_correlation / 6)
        self._block: list[tuple[float, float]] = []

    def draw(self, random: Random) -> tuple[int, int]:
        if not self._block:
            self._block = list(zip(_parts(random), _parts(random), strict=True))
        one, other = self._block.pop()
        if self._rho:
            normal = self._rho * _normal(one) + math.sqrt(max(0.0, 1 - self._rho**2)) * _normal(other)
            other = _NORMAL.cdf(normal)
        return self._input.at(one), self._output.at(other)


def _parts(random: Random) -> list[float]:
    """A number from each of `BLOCK` equal parts of 0 to 1, in random order."""
    parts = [(number + random.random()) / BLOCK for number in range(BLOCK)]
    for last in range(BLOCK - 1, 0, -1):
        other = int(random.random() * (last + 1))
        parts[last], parts[other] = parts[other], parts[last]
    return parts


def _normal(uniform: float) -> float:
    return _NORMAL.inv_cdf(min(max(uniform, 1e-12), 1 - 1e-12))


class _Inverse:
    """Tokens at a share of the requests."""

    def __init__(self, given: Quantiles) -> None:
        self._shares = [share for share, _ in given.quantiles]
        self._tokens = [tokens for _, tokens in given.quantiles]

    def at(self, share: float) -> int:
        high = max(1, bisect_left(self._shares, share))
        low = high - 1
        part = (share - self._shares[low]) / (self._shares[high] - self._shares[low])
        return max(1, round(self._tokens[low] + part * (self._tokens[high] - self._tokens[low])))
