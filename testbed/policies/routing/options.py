"""`routing:` of an experiment or of one policy."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from testbed.files.strict import MS, NUMBER, Strict

Rule = Literal["nearest", "round_robin", "weighted", "jsq", "least_loaded", "power_of_two", "predicted"]
RULES: tuple[Rule, ...] = get_args(Rule)
LOAD_AWARE: frozenset[Rule] = frozenset({"jsq", "least_loaded", "power_of_two", "predicted"})

Weight = Annotated[float, NUMBER, Field(ge=0, le=1e6)]


class Routing(Strict):
    """How a user's requests find their target, where there are several."""

    rule: Rule = Field(
        default="nearest",
        description="nearest: least round trip; round_robin: in turn; weighted: by chance, by `weights`; jsq: fewest "
        "requests open (join the shortest queue); least_loaded: fewest tokens still to emit; power_of_two: the shorter "
        "queue of two drawn by chance; predicted: least time expected, from the round trip, the tokens still to emit "
        "and how fast the target says that it emits them",
    )
    weights: dict[str, Weight] | None = Field(
        default=None,
        description="for weighted: target node to its weight; a target that is not named gets 1, and one of 0 "
        "no request while another one speaks",
        examples=[{"target0": 3, "target1": 1}],
    )
    sticky: bool = Field(
        default=False, description="true: a user stays with the target of its first request, unless that falls silent"
    )
    failover_ms: Annotated[float, MS, Field(ge=750, le=3_600_000)] | None = Field(
        default=2000.0,
        description="a target that has not answered a ping for so long is silent: its requests go on at another "
        "target, from the last token that arrived, and new ones avoid it; pings are sent every 250 ms; null: it is "
        "waited for",
    )
    report_ms: Annotated[float, MS, Field(ge=1, le=600_000)] = Field(
        default=250.0,
        description="for rules that ask for load: a target reports to every user when its load changes, and at most "
        "once in so long",
    )

    @property
    def reports(self) -> bool:
        """Targets say how loaded they are."""
        return self.rule in LOAD_AWARE


def of(given: Rule | Routing) -> Routing:
    """A rule's name stands for the rule with its defaults."""
    return given if isinstance(given, Routing) else Routing(rule=given)


def as_data(routing: Routing | None) -> dict[str, object] | None:
    """Plain data, for a node's program."""
    return None if routing is None else routing.model_dump(mode="json")
