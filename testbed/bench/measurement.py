"""One measurement of `make bench`: a number with its spread, and what it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measured number: the median of several repeats with their spread."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    compared_with: str


def of_values(name: str, unit: str, values: Sequence[float], compared_with: str) -> Measurement:
    return Measurement(name, statistics.median(values), unit, min(values), max(values), compared_with)


def repeat(name: str, unit: str, once: Callable[[], float], compared_with: str, times: int = 5) -> Measurement:
    return of_values(name, unit, [once() for _ in range(times)], compared_with)


def readable(value: float) -> str:
    """Three digits at least; whole numbers from a hundred on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
