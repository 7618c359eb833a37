"""How long a verification pass will take: WISP's regression (arXiv 2601.11652) over what the pass feeds and reads.

    T = a · Σ new + b · Σ new·total + c · Σ cached + d        total = new + cached, sums over the requests of the pass

Fitted by least squares from profiled passes; no coefficient is negative, so a pass never gets shorter by what is added
to it. `margin_ms` is the 95th percentile of how much longer passes were than predicted (our choice: the paper adds a
margin and does not say which). `Refit` goes on learning from the passes that a server sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from testbed.errors import BadInput

PERCENTILE = 95.0
TERMS = 4

Vector = np.ndarray[Any, np.dtype[np.float64]]


class Load(NamedTuple):
    """What a pass does, in the regression's terms. Loads of requests add up to that of their pass."""

    new: int = 0  # tokens fed
    attended: int = 0  # Σ new·total
    cached: int = 0  # tokens read

    def plus(self, other: Load) -> Load:
        return Load(self.new + other.new, self.attended + other.attended, self.cached + other.cached)


TYPICAL = Load(256, 262_144, 32_768)  # sets the scale of the terms where they are learnt one pass at a time


def load_of(new: int, cached: int) -> Load:
    """One request's part of a pass."""
    return Load(new, new * (new + cached), cached)


class TimedPass(NamedTuple):
    """A pass that was measured."""

    load: Load
    ms: float


class PassTime(NamedTuple):
    """A fitted regression, in milliseconds."""

    new_ms: float
    attended_ms: float
    cached_ms: float
    pass_ms: float
    margin_ms: float = 0.0

    def predict_ms(self, load: Load) -> float:
        """Without the margin."""
        return self.new_ms * load.new + self.attended_ms * load.attended + self.cached_ms * load.cached + self.pass_ms


class Accuracy(NamedTuple):
    """Of predictions without margin, on passes that were not fitted."""

    r2: float
    mae_ms: float
    mape: float  # a share, not percent


def fit(passes: Sequence[TimedPass]) -> PassTime:
    """Least squares with coefficients of at least 0. Raises BadInput for fewer passes than coefficients."""
    if len(passes) < TERMS:
        raise BadInput(f"{len(passes)} profiled passes cannot fix {TERMS} coefficients; profile more")
    rows = np.array([[*one.load, 1.0] for one in passes], dtype=np.float64)
    measured = np.array([one.ms for one in passes])
    scale = np.maximum(rows.max(axis=0), 1.0)  # columns differ by six orders of magnitude
    coefficients = _not_negative(rows / scale, measured) / scale
    late = measured - rows @ coefficients
    a, b, c, d = coefficients.tolist()
    return PassTime(a, b, c, d, max(0.0, float(np.percentile(late, PERCENTILE))))


def accuracy(model: PassTime, passes: Sequence[TimedPass]) -> Accuracy:
    measured = np.array([one.ms for one in passes])
    error = measured - np.array([model.predict_ms(one.load) for one in passes])
    spread = float(((measured - measured.mean()) ** 2).sum())
    r2 = 1.0 - float((error**2).sum()) / spread
    return Accuracy(r2, float(np.abs(error).mean()), float((np.abs(error) / measured).mean()))


def _not_negative(rows: Vector, measured: Vector) -> Vector:
    """Least squares in which a coefficient that would be negative is 0, the most negative one first."""
    kept = list(range(rows.shape[1]))
    while True:
        solved = np.linalg.lstsq(rows[:, kept], measured, rcond=None)[0]
        if solved.min() >= 0:
            break
        del kept[int(solved.argmin())]
    coefficients = np.zeros(rows.shape[1])
    coefficients[kept] = solved
    return coefficients


class Refit:
    """A regression that goes on learning: recursive least squares, in which older passes count less and less.

    It moves only in directions that recent passes differ in: a server whose batches are all alike keeps what it knew of
    others. `model` may be None at first; then nothing is predicted before `FIRST` passes have been seen.
    """

    FIRST = 16
    FORGETTING = 0.995
    RESIDUALS = 100  # of them the margin is taken
    TRUST = 1.0  # covariance at first, of each term in a pass like `typical`: known to about as much as passes scatter
    LARGEST = 10.0  # of any diagonal element of the covariance: forgetting must not let it grow without end

    def __init__(self, model: PassTime | None, typical: Load = TYPICAL) -> None:
        self.model = model
        self._scale = np.array([*typical, 1.0])
        self._first: list[TimedPass] = []
        self._late: deque[float] = deque(maxlen=self.RESIDUALS)
        self._scaled = np.zeros(TERMS)
        self._covariance = np.eye(TERMS) * self.TRUST
        if model is not None:
            self._begin(model)

    def observe(self, load: Load, ms: float) -> None:
        """A pass ended."""
        if self.model is None:
            self._first.append(TimedPass(load, ms))
            if len(self._first) == self.FIRST:
                self._begin(fit(self._first))
            return
        row = np.array([*load, 1.0]) / self._scale
        late = ms - float(row @ self._scaled)
        gain = self._covariance @ row
        gain = gain / (self.FORGETTING + float(row @ gain))
        self._scaled = np.maximum(self._scaled + gain * late, 0.0)
        covariance = (self._covariance - np.outer(gain, row @ self._covariance)) / self.FORGETTING
        largest = float(np.diag(covariance).max())
        self._covariance = covariance if largest <= self.LARGEST else covariance * (self.LARGEST / largest)
        self._late.append(late)
        margin = float(np.percentile(list(self._late), PERCENTILE)) if len(self._late) >= self.FIRST else None
        self._set(self.model.margin_ms if margin is None else max(0.0, margin))

    def _begin(self, model: PassTime) -> None:
        self._scaled = np.array(model[:TERMS]) * self._scale
        self.model = model

    def _set(self, margin_ms: float) -> None:
        a, b, c, d = (self._scaled / self._scale).tolist()
        self.model = PassTime(a, b, c, d, margin_ms)


def timed(rows: Iterable[tuple[int, int, int, float]]) -> list[TimedPass]:
    """Passes from rows of (Σ new, Σ new·total, Σ cached, milliseconds). Raises BadInput for a row that cannot be."""
    passes = []
    for number, (new, attended, cached, ms) in enumerate(rows, start=1):
        if new < 1 or attended < new or cached < 0 or ms <= 0:
            raise BadInput(f"profiled pass {number}: ({new}, {attended}, {cached}, {ms}) is not a pass that took time")
        passes.append(TimedPass(Load(new, attended, cached), ms))
    return passes
