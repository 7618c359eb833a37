"""`placement:` among the parameters of a policy that drafts elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from testbed.files.strict import MS, NUMBER, Strict, Unit

Rule = Literal["static", "random", "nearest", "nearest_idle", "least_loaded", "cheapest", "load_aware"]
RULES: tuple[Rule, ...] = get_args(Rule)
REPORTED: frozenset[Rule] = frozenset({"nearest_idle", "least_loaded", "load_aware"})

Price = Annotated[float, Unit("per hour"), Field(ge=0, le=1e6)]
Prices = Price | Annotated[list[Price], Field(min_length=24, max_length=24)]


class Placement(Strict):
    """How a request finds the site that drafts for it."""

    rule: Rule = Field(
        default="static",
        description="static: drafters in turn, by the request's number; random: by chance; nearest: least round trip; "
        "nearest_idle: least round trip of those that are idle, else as load_aware; least_loaded: fewest requests "
        "open, then least other load; cheapest: by `prices`, at the hour; load_aware: least cost of staying in step, "
        "which is round trip, its deviation, and a draft step under the load that the site reports",
    )
    move: bool = Field(
        default=False,
        description="true: a request moves on while it runs, to a site that is better by `margin`, and away from one "
        "that is silent for the policy's `silence_ms`; it goes on from the tokens that are there and never returns",
    )
    margin: Annotated[float, NUMBER, Field(ge=1, le=100)] = Field(
        default=1.2, description="how many times the other site's cost its own must be for a request to move"
    )
    stay_ms: Annotated[float, MS, Field(ge=0, le=3_600_000)] = Field(
        default=500.0, description="a request stays for so long with a site that speaks"
    )
    report_ms: Annotated[float, MS, Field(ge=1, le=600_000)] = Field(
        default=250.0,
        description="for rules that ask for load: a drafter reports to every target that has asked when its load "
        "changes, and at most once in so long",
    )
    idle_ms: Annotated[float, MS, Field(ge=0, le=60_000)] = Field(
        default=1.0,
        description="for nearest_idle: a site is idle that has no request of ours, and where others make a pass wait "
        "no longer",
    )
    prices: dict[str, Prices] | None = Field(
        default=None,
        description="for cheapest: drafter node to its price, or to one for each hour of the day",
        examples=[{"drafter0": 2.0, "drafter1": [0.5] * 8 + [3.0] * 12 + [0.5] * 4}],
    )  # fmt: skip
    hour: Annotated[float, Unit("hours"), Field(ge=0, lt=24)] = Field(
        default=0.0, description="for cheapest: time of day at the start of the run"
    )

    @model_validator(mode="after")
    def _as_ruled(self) -> Self:
        if (self.rule == "cheapest") != (self.prices is not None):
            raise ValueError("prices belong to rule: cheapest, and it needs them for every drafter")
        return self

    @property
    def reports(self) -> bool:
        """Drafters say how loaded they are."""
        return self.rule in REPORTED


def of(given: Rule | Placement) -> Placement:
    """A rule's name stands for the rule with its defaults."""
    return given if isinstance(given, Placement) else Placement(rule=given)


def wants_load(params: Any) -> bool:
    """Whether these parameters' drafters are to hear of other load on their devices."""
    return of(params.placement).reports
