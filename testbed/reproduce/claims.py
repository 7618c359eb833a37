"""What a paper claims, as a file: `experiments/<paper>/claims.yaml`, strict.

A claim names a sweep (an experiment file beside it, with or without a matrix) or another source of a table
(capacities, fits of the estimator, predictors), says how our value comes out of that table, and may point at the
committed summary of an emulated run. Why ours and the paper's differ is free text: no program can know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.datafiles import folders
from testbed.files.strict import NUMBER, SHARE, TOKENS_PER_S, S, Strict, Unit
from testbed.files.yamlfile import Mistake, filling, load_yaml, nearest, problem, raise_mistakes
from testbed.workload.slo import SCOPES, Scope, Window

FILE = "claims.yaml"

OF_COLUMN = Unit("as the column")
Scalar = str | Annotated[float, OF_COLUMN] | Annotated[int, OF_COLUMN] | bool
Setting = Scalar | dict[str, Any]  # a mapping where the axis sets several things together
Where = dict[str, Setting | list[Setting]]  # column to value, or to the values that count


class SweepEntry(Strict):
    """An experiment file of the same folder, run in simulation."""

    file: str = Field(
        description="experiment file beside this one, with or without a matrix", examples=["rtt-sweep.yaml"]
    )
    overrides: list[str] = Field(default=[], description="key=value, as on the command line", examples=[["repeats=3"]])
    intervals: bool = Field(
        default=True, description="whether to bootstrap intervals; without, a very large sweep takes a third less"
    )
    metrics: list[str] = Field(default=[], description="metrics to compute besides the headline ones")


Rate = Annotated[float, TOKENS_PER_S, Field(gt=0)]


class CapacityEntry(Strict):
    """How many users get their SLO: one row per prompt set, rate and policy of an experiment file of this folder."""

    file: str = Field(description="experiment file beside this one")
    overrides: list[str] = Field(default=[], description="key=value, as on the command line")
    policies: list[str] = Field(default=[], description="labels of the policies; none: all")
    rates_per_s: Annotated[list[Rate | Annotated[list[Rate], Field(min_length=2)]], Field(min_length=1)] = Field(
        description="SLOs to search for; a list in place of a rate mixes users of these rates in equal parts, and its "
        "rows are called 2+4+8",
        examples=[[2, 4, 8, [2, 4, 8]]],
    )
    duration_s: Annotated[float, S, Field(gt=0)] = Field(default=120.0, description="how long every probe lasts")
    most_users: Annotated[int, Unit("users"), Field(ge=1, le=1900)] = Field(
        default=300, description="upper end of the search"
    )
    bound: Annotated[float, SHARE, Field(ge=0, le=1)] = Field(
        default=0.05, description="share of requests, or of users, that may miss their SLO"
    )
    window: Window = Field(
        default="whole",
        description="what a rate is counted over, for all numbers of this source; whole: tokens / (end - sent); "
        "after_first: (tokens - 1) / (end - first token)",
    )
    scopes: Annotated[list[Scope], Field(min_length=1)] = Field(
        default=list(SCOPES),
        description="what is searched for; per_request: each request gets its rate (column capacity); per_user: each "
        "user on average (capacity_per_user); fleet: all users together (capacity_fleet)",
    )
    seeds: list[Annotated[int, NUMBER, Field(ge=0)]] = Field(
        default=[],
        description="seeds of the fleets that are probed together, each with its own order of prompts and its own "
        "draws of made-up outcomes; none: the experiment's seed alone",
        examples=[[1, 2, 3]],
    )
    prompts: list[str] = Field(
        default=[],
        description="prompt sets, each searched by itself: one row per set, column prompts; none: the experiment's",
        examples=[["prose", "openings", "mixed"]],
    )

    @property
    def fleets(self) -> list[float | tuple[float, ...]]:
        return [tuple(rate) if isinstance(rate, list) else rate for rate in self.rates_per_s]


class EstimatorEntry(Strict):
    """How well WISP's estimate fits device profiles: policy `estimate`, one row per device and seed."""

    devices: Annotated[list[str], Field(min_length=1)] = Field(description="device profiles")
    seeds: Annotated[list[Annotated[int, NUMBER, Field(ge=0)]], Field(min_length=1)] = Field(
        default=[0], description="seeds of the configurations that are fitted and tested"
    )


class PredictorEntry(Strict):
    """Rejection predictors trained on a decode table: one row per policy and prompt set that it is tested on."""

    table: str = Field(description="decode table to train on, by name or path")
    kinds: Annotated[list[Literal["mlp", "logistic"]], Field(min_length=1)] = Field(
        default=["mlp", "logistic"], description="predictors to train"
    )
    others: list[str] = Field(default=[], description="decode tables of other prompts to test on")


PaperValue = Annotated[float, Unit("as the metric")]


class Reach(Strict):
    """The largest value of an axis up to which the metric's median stays at most at a bound."""

    axis: str = Field(description="dotted key of the matrix")
    at_most: Annotated[float, Unit("as the metric")] = Field(description="bound on the metric's median")


class Value(Strict):
    """One number out of a sweep's table."""

    name: str = Field(description="what the table calls it")
    metric: str = Field(
        description="a metric's name, or any column of the table", examples=["latency_ratio", "tpot_ms_p95"]
    )
    policy: str = Field(description="label of the policy")
    per: str | None = Field(default=None, description="column that the metric is divided by, row by row")
    over: str | None = Field(
        default=None, description="policy by whose metric at the same settings this one's is divided"
    )
    less: str | None = Field(
        default=None, description="policy whose metric at the same settings is subtracted from this one's"
    )
    where: Where = Field(
        default={},
        description="column: value, or list of values, of the rows that count",
        examples=[{"network.rtt_ms": 20}],
    )
    reduce: Literal["only", "median", "min", "max"] = Field(
        default="only", description="one number of the rows that remain; only: there must be exactly one"
    )
    reach: Reach | None = Field(
        default=None,
        description="in place of reduce: last value of an axis before the median first exceeds a bound",
        examples=[{"axis": "network.rtt_ms", "at_most": 1.0}],
    )
    range: Annotated[tuple[PaperValue, PaperValue], Field(strict=False)] | None = Field(
        default=None, description="[low, high] of the paper's value, as far as it can be read", examples=[[0.9, 1.0]]
    )
    emulation: str | None = Field(
        default=None, description="summary.json of an emulated run of this value's setting; null: the claim's"
    )

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if self.over is not None and self.less is not None:
            raise problem((), f"{self.name}: `over` divides, `less` subtracts: use only one")
        return self


class Claim(Strict):
    """One claim of the paper, with our numbers beside it."""

    id: str = Field(description="short name, such as W1")
    part: str | None = Field(default=None, description="title of the part it stands in; null: before the first")
    source: str = Field(default="", description="where in the paper", examples=["Fig. 9"])
    paper: str = Field(description="what the paper says")
    sweep: str = Field(description="source of the rows: a name of sweeps, capacities, estimators or predictors")
    values: Annotated[list[Value], Field(min_length=1)] = Field(description="our numbers")
    emulation: str | None = Field(
        default=None, description="summary.json of an emulated run of the same setting, below docs/"
    )
    why: str = Field(description="why our numbers and the paper's differ, or agree")


class Panel(Strict):
    """What is specific to one panel of a figure; the rest is the figure's."""

    title: str = Field(description="heading of the panel")
    sweep: str | None = Field(default=None, description="as of the figure")
    x: str | None = Field(default=None, description="as of the figure")
    y: str | None = Field(default=None, description="as of the figure")
    value: str | None = Field(default=None, description="as of the figure")
    neutral: Annotated[float, Unit("as the metric")] | None = Field(default=None, description="as of the figure")
    policies: Annotated[list[str], Field(min_length=1)] | None = Field(default=None, description="as of the figure")
    where: Where | None = Field(default=None, description="as of the figure", examples=[{"seed": 1}])
    x_label: str | None = Field(default=None, description="as of the figure")
    y_label: str | None = Field(default=None, description="as of the figure")
    reference: Annotated[float, Unit("as the axis")] | None = Field(default=None, description="as of the figure")


class Figure(Strict):
    """One figure from a sweep's table; what is neither x nor told apart by `by` is reduced to its median.

    A `cdf` is over the prompts of each line, from the sweep's table of prompts.
    """

    name: str = Field(description="name of its files")
    kind: Literal["lines", "scatter", "cdf", "map"] = Field(
        description="lines over an axis; a point per setting; the share of prompts with at most x; or a heat map, a "
        "number for each pair of x and y"
    )
    title: str = Field(description="heading")
    sweep: str = Field(description="source of the rows, as of a claim")
    x: str = Field(
        description="column: an axis of the sweep for lines and maps, a metric for a scatter, a column of prompts.csv "
        "for a cdf. Of an axis whose values are mappings, AXIS.KEY is a column too, as is `policy`",
        examples=["network.rtt_ms", "place.drafter"],
    )
    y: str | None = Field(default=None, description="column; none for a cdf, where it is the share of prompts")
    value: str | None = Field(default=None, description="for a map: the metric whose median over the rest is shown")
    neutral: Annotated[float, Unit("as the metric")] | None = Field(
        default=None,
        description="for a map: the value that has no colour, as 1 of a ratio; null: colours from least to most",
    )
    by: str | None = Field(default=None, description="column whose values become lines or colours")
    legend: str | None = Field(default=None, description="title of the legend; null: what by says")
    each: str | None = Field(default=None, description="for a scatter: the axis along which its points lie")
    policies: Annotated[list[str], Field(min_length=1)] = Field(description="labels of the policies that are drawn")
    where: Where = Field(
        default={}, description="column: value, or list of values, of the rows that are drawn", examples=[{"seed": 1}]
    )
    x_label: str = Field(description="label of the x axis")
    y_label: str = Field(description="label of the y axis")
    reference: Annotated[float, Unit("as the axis")] | None = Field(
        default=None, description="draw a line at this value: horizontal, for a cdf vertical"
    )
    panels: list[Panel] = Field(default=[], description="panels side by side; none: the figure is one panel")
    columns: Annotated[int, Unit("panels"), Field(ge=1, le=4)] = Field(default=2, description="panels in a row")
    part: str | None = Field(default=None, description="title of the part it stands in; null: before the first")
    note: str = Field(default="", description="what to see in it; printed below it")

    @model_validator(mode="after")
    def _has_y(self) -> Self:
        for one in self.each_panel():
            if (one.y is None) != (self.kind == "cdf"):
                raise problem((), f"figure {self.name}: a {self.kind} " + ("has no y" if one.y else "needs y"))
            if (one.value is None) != (self.kind != "map"):
                raise problem(
                    (), f"figure {self.name}: a {self.kind} " + ("has no value" if one.value else "needs value")
                )
            if self.kind == "map" and (self.by, self.each, self.legend) != (None, None, None):
                raise problem((), f"figure {self.name}: a map has none of by, each and legend")
        return self

    def each_panel(self) -> list[Figure]:
        """Every panel as its own figure."""
        alone = self.model_copy(update={"panels": []})
        own = (panel.model_dump(exclude_none=True) for panel in self.panels)
        return [alone.model_copy(update=update) for update in own] or [alone]


class Part(Strict):
    """A heading with its own table and figures."""

    title: str = Field(description="the heading")
    text: str = Field(default="", description="what a reader should know first")


class Claims(Strict):
    """What a paper claims, and which of our numbers stand beside it."""

    title: str = Field(description="title of the paper")
    cite: str = Field(description="how to cite it")
    text: str = Field(default="", description="what a reader should know before the first table")
    parts: list[Part] = Field(default=[], description="headings, in this order")
    sweeps: dict[str, SweepEntry] = Field(default={}, description="name: experiment to run in simulation")
    capacities: dict[str, CapacityEntry] = Field(default={}, description="name: capacity search, as testbed capacity")
    estimators: dict[str, EstimatorEntry] = Field(
        default={}, description="name: fits of WISP's estimate, as testbed models fit-estimator"
    )
    predictors: dict[str, PredictorEntry] = Field(
        default={}, description="name: rejection predictors, as testbed models train-controller"
    )
    claims: Annotated[list[Claim], Field(min_length=1)] = Field(description="the claims, in this order")
    figures: list[Figure] = Field(default=[], description="figures to draw")

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
    with filling(path, Claims, lines):
        return Claims.model_validate(data)
