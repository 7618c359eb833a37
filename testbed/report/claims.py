"""What a paper claims, as a file: `experiments/<paper>/claims.yaml`, strict.

A claim names a sweep (an experiment file beside it, with or without a matrix) or another source of a table
(capacities, fits of the estimator, predictors), says how our value comes out of that table, and may point at the
committed summary of an emulated run. Why ours and the paper's differ is free text: no program can know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from testbed.errors import BadInput
from testbed.repository import folders
from testbed.strict import Strict
from testbed.yamlfile import Mistake, explain, load_yaml, nearest, problem, raise_mistakes

FILE = "claims.yaml"

Scalar = str | float | int | bool
Setting = Scalar | dict[str, Any]  # a mapping where the axis sets several things together
Where = dict[str, Setting | list[Setting]]  # column to value, or to the values that count


class SweepEntry(Strict):
    """An experiment file of the same folder, run in simulation."""

    file: str
    overrides: list[str] = []
    intervals: bool = True  # the bootstrap; without it a sweep of very many points takes a third less
    metrics: list[str] = []  # besides the headline ones


Positive = Annotated[float, Field(gt=0)]


class CapacityEntry(Strict):
    """Users inside their promises, by bisection: one row a rate and policy of an experiment file of the same folder.

    A list in place of a rate is a fleet of those classes in equal parts; its rows are those of `2+4+8`.
    """

    file: str
    overrides: list[str] = []
    policies: list[str] = []  # labels; none: all
    rates_per_s: Annotated[list[Positive | Annotated[list[Positive], Field(min_length=2)]], Field(min_length=1)]
    duration_s: Positive = 120.0
    most_users: Annotated[int, Field(ge=1, le=1900)] = 300
    bound: Annotated[float, Field(ge=0, le=1)] = 0.05

    @property
    def fleets(self) -> list[float | tuple[float, ...]]:
        return [tuple(rate) if isinstance(rate, list) else rate for rate in self.rates_per_s]


class EstimatorEntry(Strict):
    """How well WISP's estimate fits device profiles: policy `estimate`, one row a device and seed."""

    devices: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)] = [0]


class PredictorEntry(Strict):
    """Rejection predictors trained on a decode table: a policy each, one row a set of prompts it is judged on."""

    table: str
    kinds: Annotated[list[Literal["mlp", "logistic"]], Field(min_length=1)] = ["mlp", "logistic"]
    others: list[str] = []  # tables of other prompts


class Reach(Strict):
    """The largest value of an axis up to which the metric's median stays at most at a bound."""

    axis: str
    at_most: float


class Value(Strict):
    """One number out of a sweep's table."""

    name: str
    metric: str  # a metric's name, or any column of the table
    policy: str
    per: str | None = None  # a column that the metric is divided by, row by row
    over: str | None = None  # another policy, by whose metric at the same settings this one's is divided
    less: str | None = None  # or from which it is subtracted
    where: Where = {}
    reduce: Literal["only", "median", "min", "max"] = "only"  # of the rows that remain; `only`: exactly one
    reach: Reach | None = None  # instead of reduce
    range: Annotated[tuple[float, float], Field(strict=False)] | None = (
        None  # a list in the file; of the paper's figure, as far as it can be read
    )
    emulation: str | None = None  # a summary of this value's own setting; default: the claim's

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if self.over is not None and self.less is not None:
            raise problem((), f"{self.name}: `over` divides, `less` subtracts: keep one of them")
        return self


class Claim(Strict):
    id: str
    part: str | None = None  # title of the part it stands in; none: before the first
    source: str = ""  # where in the paper
    paper: str  # what it says
    sweep: str  # or another source
    values: Annotated[list[Value], Field(min_length=1)]
    emulation: str | None = None  # summary.json of an emulated run of the same setting, below docs/
    why: str  # why ours and the paper's differ, or agree


class Panel(Strict):
    """What one panel of a figure has of its own; the rest is the figure's."""

    title: str
    sweep: str | None = None
    x: str | None = None
    y: str | None = None
    where: Where | None = None
    x_label: str | None = None
    y_label: str | None = None
    reference: float | None = None


class Figure(Strict):
    """One figure from a sweep's table; what is neither x nor told apart by `by` is reduced to its median.

    A `cdf` is over the prompts of each line, from the sweep's table of prompts.
    """

    name: str
    kind: Literal["lines", "scatter", "cdf"]
    title: str
    sweep: str
    x: str  # a column: an axis for lines, a metric for a scatter, a column of `prompts.csv` for a cdf
    y: str | None = None  # of a cdf: the share of prompts, so not given
    by: str | None = None  # a column whose values become lines, or colours
    legend: str | None = None  # its title; default: what `by` says
    each: str | None = None  # of a scatter: the axis along which its points lie
    policies: Annotated[list[str], Field(min_length=1)]
    where: Where = {}
    x_label: str
    y_label: str
    reference: float | None = None  # a line at this ratio or difference: horizontal, or of a cdf vertical
    panels: list[Panel] = []  # drawn side by side; none: the figure is one panel
    columns: Annotated[int, Field(ge=1, le=4)] = 2  # panels in a row
    part: str | None = None
    note: str = ""  # what to see in it, below it in the document

    @model_validator(mode="after")
    def _has_y(self) -> Self:
        for one in self.each_panel():
            if (one.y is None) != (self.kind == "cdf"):
                raise problem((), f"figure {self.name}: a {self.kind} " + ("has no y" if one.y else "needs y"))
        return self

    def each_panel(self) -> list[Figure]:
        """Every panel as a figure of its own."""
        alone = self.model_copy(update={"panels": []})
        own = (panel.model_dump(exclude_none=True) for panel in self.panels)
        return [alone.model_copy(update=update) for update in own] or [alone]


class Part(Strict):
    """A heading with its own table and figures."""

    title: str
    text: str = ""


class Claims(Strict):
    """A whole file."""

    title: str
    cite: str
    text: str = ""  # what a reader should know before the first table
    parts: list[Part] = []
    sweeps: dict[str, SweepEntry] = {}
    capacities: dict[str, CapacityEntry] = {}
    estimators: dict[str, EstimatorEntry] = {}
    predictors: dict[str, PredictorEntry] = {}
    claims: Annotated[list[Claim], Field(min_length=1)]
    figures: list[Figure] = []

    @property
    def sources(self) -> list[str]:
        """What claims and figures may name."""
        return [*self.sweeps, *self.capacities, *self.estimators, *self.predictors]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        for name in dict.fromkeys(self.sources):
            if self.sources.count(name) > 1:
                yield Mistake(("sweeps",), f"two sources are called {name!r}")
        claims = [(claim.id, claim.sweep) for claim in self.claims]
        figures = [(figure.name, figure.sweep) for figure in self.figures]
        parts = [one.title for one in self.parts]
        named = [("claims", index, claim.part) for index, claim in enumerate(self.claims)]
        named += [("figures", index, figure.part) for index, figure in enumerate(self.figures)]
        for kind, index, part in named:
            if part is not None and part not in parts:
                yield Mistake((kind, index, "part"), f"no part {part!r}{nearest(part, parts)}")
        for index, figure in enumerate(self.figures):
            for panel in figure.panels:
                if panel.sweep is not None and panel.sweep not in self.sources:
                    known = nearest(panel.sweep, self.sources)
                    yield Mistake(("figures", index), f"{figure.name}: no sweep {panel.sweep!r}{known}")
        for kind, entries in (("claims", claims), ("figures", figures)):
            names = [name for name, _ in entries]
            for index, (name, sweep) in enumerate(entries):
                if name in names[:index]:
                    yield Mistake((kind, index), f"{kind}: {name!r} is there twice")
                if sweep not in self.sources:
                    text = f"{name}: no sweep {sweep!r}{nearest(sweep, self.sources)}"
                    yield Mistake((kind, index, "sweep"), text)


def load_claims(name: str) -> tuple[Claims, Path]:
    """The claims of one paper and the folder they are in. Raises BadInput in one line."""
    known = {path.parent.name: path for folder in reversed(folders("experiments")) for path in folder.glob(f"*/{FILE}")}
    if name not in known:
        raise BadInput(f"no experiments/{name}/{FILE}{nearest(name, known)}")
    return read_claims(known[name]), known[name].parent


def read_claims(path: Path) -> Claims:
    """A file of claims. Raises BadInput in one line."""
    data, lines = load_yaml(path)
    try:
        return Claims.model_validate(data)
    except ValidationError as error:
        raise explain(error, path, lines, Claims) from error
