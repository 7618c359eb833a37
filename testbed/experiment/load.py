"""The load of an experiment: which requests of a profile or trace its users send, when, and how long they are.

Rule kept: both engines get the same requests from the same seed. How many there are, and how long the longest answer
is, follow from the load: `filled` writes both into an experiment that leaves them out, before it is validated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from testbed.errors import BadInput
from testbed.files.strict import NUMBER, S, Terse, Unit
from testbed.files.yamlfile import problem
from testbed.workload.load.asked import Asked
from testbed.workload.load.source import Load, load_load

MOST_REQUESTS = 100_000  # of a run; `workload.requests`
HOUR_S = 3600.0
LOADED = "load"  # value of `arrivals`

Moment = Annotated[float, S, Field(ge=0, le=1e9)]
Scale = Annotated[float, NUMBER, Field(ge=1e-6, le=1e6)]  # less: a generator would count up to no end


class LoadKeys(Terse):
    """The keys of `workload:` about a load."""

    quiet: ClassVar[tuple[str, ...]] = ("load", "rate_scale", "time_scale", "token_scale", "window", "local_time")

    load: str | None = Field(
        default=None,
        description="load that says when requests come and how many tokens they have, by name (testbed loads list) or "
        "path of a profile or trace; null: arrivals and output_tokens say it",
        examples=["azure-2023-conv"],
    )
    rate_scale: Scale = Field(default=1.0, description="so many times as many requests as in the load")
    time_scale: Scale = Field(
        default=1.0, description="seconds of the run for each second of the load; below 1 it goes by faster"
    )
    token_scale: Scale = Field(
        default=1.0, description="lengths of prompts and answers, in shares of the load's; no less than one token"
    )
    window: Annotated[tuple[Moment, Moment], Field(strict=False)] | None = Field(
        default=None,
        description="the stretch of the load that is sent, [from, to], from its beginning; null: all of it",
        examples=[[0, 600]],
    )
    local_time: dict[str, Annotated[float, Unit("hours"), Field(ge=-14, le=14)]] | None = Field(
        default=None,
        description="by site of users: hours that its clock is ahead of the load's. Each site gets its part of the "
        "load at its own time of day; null: one load for all users in turn",
        examples=[{"us-east-1": -5, "eu-west-1": 0}],
    )

    @model_validator(mode="after")
    def _of_a_load(self) -> Self:
        given = [key for key in LoadKeys.quiet[1:] if getattr(self, key) != type(self).model_fields[key].default]
        if self.load is None and given:
            raise problem((given[0],), f"{given[0]} has no effect without a load; add `load: NAME`, or remove it")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise problem(("window",), f"window is {list(self.window)}; must be [from, to], and end after it begins")
        return self


class Sent(NamedTuple):
    """One request of a user, by the user's number; `at_s` counts from the start of the run."""

    at_s: float
    user: int
    asked: Asked  # lengths as they are sent


def sent(keys: LoadKeys, load: Load, sites: Sequence[str], seed: int) -> Iterator[Sent]:
    """All requests of the window, earliest first. `sites`: of the users, in their order."""
    begin_s, end_s = keys.window or (0.0, load.seconds)
    groups: dict[str, list[int]] = {}
    for user, site in enumerate(sites):
        groups.setdefault("" if keys.local_time is None else site, []).append(user)

    def of(site: str, users: list[int]) -> Iterator[Sent]:
        hours = 0.0 if keys.local_time is None else keys.local_time.get(site, 0.0)
        begins = (begin_s + hours * HOUR_S) % load.seconds if hours else begin_s
        share = keys.rate_scale * len(users) / len(sites)
        sessions: dict[str, int] = {}
        for number, one in enumerate(load.requests(f"{seed}/{site}", begins, begins + end_s - begin_s, share)):
            # all of a conversation come from one user
            turn = sessions.setdefault(one.session, len(sessions)) if one.session is not None else number
            scaled = one._replace(
                input_tokens=_scaled(one.input_tokens, keys.token_scale),
                output_tokens=_scaled(one.output_tokens, keys.token_scale),
                known_tokens=int(one.known_tokens * keys.token_scale),
                text=_scaled_text(one.text, keys.token_scale),
            )
            yield Sent(one.at_s * keys.time_scale, users[turn % len(users)], scaled)

    return merge(*(of(site, users) for site, users in groups.items()), key=lambda one: one.at_s)


def require_sites(keys: LoadKeys, sites: Sequence[str]) -> str | None:
    """What is wrong with `local_time` for users at these sites; None: nothing."""
    if keys.local_time is None:
        return None
    for site in keys.local_time:
        if site not in sites:
            return f"local_time: no user is at {site!r}; sites of users: {', '.join(dict.fromkeys(sites))}"
    for site in sites:
        if site not in keys.local_time:
            return f"local_time: {site!r} has users and no local time; add it, as in {{{site}: 0}}"
    return None


def filled(data: Any, user_sites: Callable[[Any], Sequence[str] | None]) -> Any:
    """An experiment's mapping with what its load decides, where it leaves that out; as it is where it is wrong.

    `user_sites`: the sites of its users from the value of `place`, None where that is wrong. Raises BadInput for a load
    that cannot be read, or whose window holds no requests, or too many.
    """
    workload = data.get("workload") if isinstance(data, Mapping) else None
    if not isinstance(workload, Mapping) or not isinstance(workload.get("load"), str):
        return data
    told = {"arrivals": LOADED, "ignore_eos": True, **workload}
    if "requests" not in told or "output_tokens" not in told:
        told = {**_counted(data, told, user_sites(data.get("place"))), **told}
    return {**data, "workload": told}


def _counted(data: Mapping[str, Any], workload: Mapping[str, Any], sites: Sequence[str] | None) -> dict[str, int]:
    """Requests of the window, the same in all repeats, and the longest answer."""
    seed, repeats = data.get("seed", 0), data.get("repeats", 1)
    try:
        keys = LoadKeys.model_validate({key: workload[key] for key in LoadKeys.quiet if key in workload})
    except ValidationError:  # is said when the experiment is validated
        return {"requests": 1, "output_tokens": 1}
    if not sites or not all(type(one) is int and one >= 0 for one in (seed, repeats)) or require_sites(keys, sites):
        return {"requests": 1, "output_tokens": 1}
    load = load_load(workload["load"])
    asked = workload.get("requests")
    most = asked if type(asked) is int and asked > 0 else MOST_REQUESTS + 1
    each = [list(islice(sent(keys, load, sites, seed + repeat), most)) for repeat in range(min(repeats, 1000))]
    count = min(len(one) for one in each)
    if count == 0:
        raise BadInput(
            f"workload.load: {load.name} has no requests in this window; widen workload.window, or raise "
            "workload.rate_scale"
        )
    if count > MOST_REQUESTS:
        raise BadInput(
            f"workload.load: more than {MOST_REQUESTS} requests of {load.name} are in this window; narrow "
            "workload.window, lower workload.rate_scale, or give workload.requests"
        )
    longest = max(one.asked.output_tokens for of_repeat in each for one in of_repeat[:count])
    return {"requests": count, "output_tokens": longest}


def _scaled_text(text: Sequence[tuple[int, int]], scale: float) -> tuple[tuple[int, int], ...]:
    """Pieces end where they ended, in shares of the whole; its length is that of a scaled input."""
    found, end, scaled_end = [], 0, 0
    for number, tokens in text:
        end += tokens
        until = _scaled(end, scale)
        if until > scaled_end:
            found.append((number, until - scaled_end))
        scaled_end = until
    return tuple(found)


def _scaled(tokens: int, scale: float) -> int:
    return max(1, round(tokens * scale))
