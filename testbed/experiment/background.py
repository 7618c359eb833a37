"""The `background:` of an experiment: what other tenants ask of the devices at each site while it runs.

Rule kept: a tenant is at a site whose device our policies use, or it would have no effect and is refused. Which of
several devices of one role at a site a request goes to is chance: each gets an equal part of the load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.experiment.load import HOUR_S, Scale
from testbed.files.strict import REQUESTS, REQUESTS_PER_S, SHARE, TOKENS, S, Strict, Unit
from testbed.files.yamlfile import Mistake, problem
from testbed.models.devices import DeviceProfile
from testbed.workload import arrivals
from testbed.workload import background as sharing
from testbed.workload.arrivals import Surge
from testbed.workload.background import Background
from testbed.workload.load.profile import Lengths, LoadSource, Profile, Quantiles, Rate, Stream
from testbed.workload.load.source import Load

MOST_S = 86_400.0  # of surges: a day, after which they come again
MODELS: Mapping[str, Literal["target", "draft"]] = {"target": "target", "drafter": "draft"}  # role to its model


Hourly = Annotated[float, REQUESTS_PER_S, Field(ge=0, le=1e6)]
Hours = Annotated[list[Hourly], Field(min_length=24, max_length=24)]


class Tenant(Strict):
    """A load of another tenant on the devices of one role at a site."""

    role: Literal["target", "drafter"] = Field(default="target", description="on whose device")
    load: str | None = Field(
        default=None,
        description="load, by name (testbed loads list) or path; null: rate_per_s or by_hour say it",
        examples=["azure-2024-conv"],
    )
    rate_scale: Scale = Field(default=1.0, description="so many times as many requests as in the load")
    time_scale: Scale = Field(default=1.0, description="seconds of the run for each second of the load")
    token_scale: Scale = Field(default=1.0, description="lengths, in shares of the load's")
    rate_per_s: arrivals.Rate | None = Field(
        default=None, description="instead of a load: mean requests per second, Poisson", examples=[0.5]
    )
    surges: list[Surge] = Field(
        default=[],
        description="with rate_per_s: stretches of time with another rate, from the start of the run, within a day",
        examples=[[{"start_s": 10, "length_s": 5, "rate_per_s": 8}]],
    )
    by_hour: Hours | None = Field(
        default=None,
        description="instead of a load: requests per second in each hour of the day, from midnight",
        examples=[[0.1] * 8 + [1.0] * 12 + [0.3] * 4],
    )  # fmt: skip
    input_tokens: Annotated[int, TOKENS, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="without a load: tokens of a prompt"
    )
    output_tokens: Annotated[int, TOKENS, Field(ge=1, le=1_000_000)] = Field(
        default=130, description="without a load: tokens of an answer"
    )
    from_s: Annotated[float, S, Field(ge=0, le=1e9)] | None = Field(
        default=None,
        description="where in the load, or in the day of by_hour, the run begins; null: where workload.window does, at "
        "0 without one",
    )
    local_time: Annotated[float, Unit("hours"), Field(ge=-14, le=14)] = Field(
        default=0.0, description="hours that the site's clock is ahead of the load's"
    )
    max_batch: Annotated[int, REQUESTS, Field(ge=1, le=1024)] = Field(
        default=256, description="requests that are decoded together"
    )
    kv_share: Annotated[float, SHARE, Field(gt=0, lt=1)] = Field(
        default=0.5, description="share of the device's key-value memory that is theirs; ours have the rest"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = {"load": self.load, "rate_per_s": self.rate_per_s, "by_hour": self.by_hour}
        given = [kind for kind, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise problem((), f"a tenant has one of load, rate_per_s and by_hour; this one has {given or 'none'}")
        if self.surges and self.rate_per_s is None:
            raise problem(("surges",), "surges change a rate_per_s; add it, or remove them")
        if self.load is None and (self.rate_scale, self.time_scale, self.token_scale) != (1.0, 1.0, 1.0):
            raise problem(
                (), "rate_scale, time_scale and token_scale change a load; write the rates and lengths as meant"
            )
        end_s = 0.0
        for surge in self.surges:
            if surge.start_s < end_s or (end_s := surge.start_s + surge.length_s) > MOST_S:
                raise problem(("surges",), f"surges must follow one another, within {MOST_S:g} s")
        return self

    def as_load(self, read: Callable[[str], Load]) -> Load:
        """What it asks; one without a load is made a profile."""
        if self.load is not None:
            return read(self.load)
        if self.by_hour is not None:
            if not any(self.by_hour):
                raise BadInput("background: by_hour is 0 in every hour; remove the tenant, or give it some requests")
            rate = Rate(step_s=HOUR_S, requests=tuple(HOUR_S * one for one in self.by_hour))
        else:
            rate = self._surging()
        return Load("described", _fixed(rate, self.input_tokens, self.output_tokens), "")

    def _surging(self) -> Rate:
        """A day in steps of a second, or one step where nothing surges."""
        assert self.rate_per_s is not None
        if not self.surges:
            return Rate(step_s=HOUR_S, requests=(HOUR_S * self.rate_per_s,))
        last = max(one.start_s + one.length_s for one in self.surges)
        steps = [self.rate_per_s] * int(min(MOST_S, max(HOUR_S, 2 * last)))
        for surge in self.surges:
            for second in range(int(surge.start_s), min(len(steps), int(surge.start_s + surge.length_s + 0.5))):
                steps[second] = surge.rate_per_s
        return Rate(step_s=1.0, requests=tuple(steps))


Tenants = Tenant | Annotated[list[Tenant], Field(min_length=1, max_length=16)]


def misplaced(background: Mapping[str, Tenants], nodes: Mapping[str, tuple[str, str]]) -> Iterator[Mistake]:
    """Tenants at sites without a device of their role."""
    for site, given in background.items():
        for one in _listed(given):
            if not any((role, where) == (one.role, site) for role, where in nodes.values()):
                there = sorted({where for role, where in nodes.values() if role == one.role})
                yield Mistake(
                    ("background", site),
                    f"background: no {one.role} is at {site!r}, so nothing there is shared; sites of {one.role}s: "
                    f"{', '.join(there) or 'none'}",
                )


def on_nodes(
    background: Mapping[str, Tenants],
    nodes: Mapping[str, tuple[str, str]],
    profiles: Mapping[str, DeviceProfile],
    seed: int,
    read: Callable[[str], Load],
    window_s: float = 0.0,
) -> dict[str, Background]:
    """By node, for one repeat, whose `seed` decides what is drawn. `profiles` by key of `devices:`.

    `window_s`: where the users' own load begins, as do those of tenants who say nothing else.
    """
    found = {}
    for node, (role, site) in nodes.items():
        mine = [one for one in _listed(background.get(site, [])) if one.role == role]
        if not mine:
            continue
        if profiles[role].native:
            raise BadInput(
                f"background: devices.{role} is native and has no pass times, so tenants cannot share it; use a device "
                "profile"
            )
        alike = sum(one == (role, site) for one in nodes.values())
        asking = []
        for number, one in enumerate(mine):
            load = one.as_load(read)
            from_s = window_s if one.from_s is None else one.from_s
            begin_s = (from_s + one.local_time * HOUR_S) % load.seconds
            asking.append(
                sharing.Tenant.of(
                    load, f"{seed}/{node}/{number}", begin_s, one.rate_scale / alike, one.time_scale, one.token_scale
                )
            )
        share = min(0.99, sum(one.kv_share for one in mine)) if len(mine) > 1 else mine[0].kv_share
        most = min(1024, sum(one.max_batch for one in mine))
        found[node] = Background(MODELS[role], tuple(asking), most, share)
    return found


def names_of(background: Mapping[str, Tenants]) -> list[str]:
    """The loads that are named, each once."""
    named = (one.load for given in background.values() for one in _listed(given))
    return list(dict.fromkeys(name for name in named if name is not None))


def _listed(given: Tenants | Sequence[Tenant]) -> list[Tenant]:
    return [given] if isinstance(given, Tenant) else list(given)


def _fixed(rate: Rate, input_tokens: int, output_tokens: int) -> Profile:
    def always(tokens: int) -> Quantiles:
        return Quantiles(quantiles=((0.0, float(tokens)), (1.0, float(tokens))))

    return Profile(
        description="described in an experiment",
        kind="composed",
        source=LoadSource(citation="the experiment", licence="none", date="none"),
        streams=(Stream(rate=rate),),
        lengths=Lengths(input=always(input_tokens), output=always(output_tokens)),
    )
