"""A target's drafters: which one a request goes to, and whether it would be better off at another one by now.

The cost of a site is what it takes to be in step with its drafter again after a mismatch: a round trip, how far round
trips deviate, and a draft step there, by the drafter's own word, or as long as one here and the wait for others.

Rule kept: nothing but measured round trips, what was handed out, and reports; chance is keyed by the request's seed,
so it is the same in both engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from testbed.decoding.rng import uniform
from testbed.errors import BadInput
from testbed.policies.api import Command, Send
from testbed.policies.placement.options import Placement
from testbed.policies.routing.rules import Known
from testbed.wire.messages import Load, Request, Watch

HOUR_MS = 3_600_000.0


class Site(Known):
    """One drafter as one target knows it. A target also knows which requests it took away since a report was made."""

    def __init__(self) -> None:
        super().__init__()
        self._left: list[tuple[float, float]] = []  # when such a request was handed out, and when it was taken away

    def left(self, request: int, now: float) -> None:
        one = self._sent.pop(request, None)
        if one is not None and self._report is not None:
            self._left.append((one.at, now))

    def reported(self, report: Load, now: float) -> None:
        super().reported(report, now)
        self._left = [one for one in self._left if one[1] > self._since()]

    def others(self, request: int) -> int:
        """Requests open there besides this one."""
        since = self._since()
        over = sum(given <= since < taken for given, taken in self._left)
        return max(0, self.open - over - (request in self._sent))


class Sites:
    """`draft_ms`: what a draft step takes at the target itself; None: it is not known yet."""

    def __init__(self, placement: Placement, drafters: Sequence[str], draft_ms: Callable[[], float | None]) -> None:
        if placement.prices is not None and set(placement.prices) != set(drafters):
            raise BadInput(
                f"placement: prices name {', '.join(placement.prices)}; the drafters are {', '.join(drafters)}"
            )
        self._placement = placement
        self._drafters = drafters
        self._draft_ms = draft_ms
        self._known = {drafter: Site() for drafter in drafters}
        self._begun: float | None = None
        self._watched = False

    # --- what it hears ---

    def sample(self, peer: str, rtt_ms: float, now: float) -> None:
        if peer in self._known:
            self._known[peer].sample(rtt_ms, now)

    def reported(self, drafter: str, load: Load, now: float) -> None:
        if drafter in self._known:
            self._known[drafter].reported(load, now)

    def watch(self, request: int) -> list[Command]:
        """With its first request a target asks for reports, where the rule needs any."""
        if self._watched or not self._placement.reports:
            return []
        self._watched = True
        return [Send(drafter, Watch(request)) for drafter in self._drafters]

    def given(self, drafter: str, request: int, tokens: int, now: float) -> None:
        """The request is at this drafter from now on."""
        self._known[drafter].sent(request, tokens, now)

    def left(self, drafter: str, request: int, now: float) -> None:
        """It is there no more."""
        self._known[drafter].left(request, now)

    # --- what it decides ---

    def choose(self, request: Request, among: Sequence[str], now: float) -> str:
        """For a new request, or one that has to move; `among` are drafters, at least one."""
        rule = self._placement.rule
        own = request.request % len(self._drafters)
        turned = [one for one in (*self._drafters[own:], *self._drafters[:own]) if one in among]
        if rule == "static":
            return turned[0]
        if rule == "random":
            drawn = uniform(request.sampling.seed, request.request, len(request.prompt), "route")
            return among[int(drawn * len(among))]
        return min(turned, key=lambda one: self._score(one, request.request, now))

    def better(self, request: Request, at: str, since: float, among: Sequence[str], now: float) -> str | None:
        """The site that a request is to move to, which is at a drafter that speaks; None: it stays."""
        placement = self._placement
        if not placement.move or placement.rule in ("static", "random") or now - since < placement.stay_ms:
            return None
        others = [one for one in among if one != at]
        if not others:
            return None
        best = self.choose(request, others, now)
        number = request.request
        if self._score(at, number, now) <= self._score(best, number, now):
            return None
        worse = self._measure(at, number, now) > placement.margin * self._measure(best, number, now)
        return best if worse else None

    def _score(self, drafter: str, request: int, now: float) -> tuple[float, ...]:
        """Least is best; what comes later decides between equals."""
        known = self._known[drafter]
        return (*SCORES[self._placement.rule](self, drafter, request, now), known.rtt_ms)

    def _measure(self, drafter: str, request: int, now: float) -> float:
        """What `margin` compares: the price, or a round trip, where that alone decides, else the cost."""
        if self._placement.rule == "cheapest":
            return self.price(drafter, now)
        return self._known[drafter].rtt_ms if self._placement.rule == "nearest" else self.cost_ms(drafter, request)

    def cost_ms(self, drafter: str, request: int) -> float:
        """Until a drafter that was told something new is of use again, for this request. A drafter takes its requests
        in turn, so a step of one is as long as a pass of each."""
        known = self._known[drafter]
        pass_ms = known.pace_ms or (self._draft_ms() or 0.0) + known.wait_ms
        return known.rtt_ms + known.deviation_ms + pass_ms * (1 + known.others(request))

    def idle(self, drafter: str, request: int) -> bool:
        known = self._known[drafter]
        return not known.others(request) and known.wait_ms <= self._placement.idle_ms

    def load(self, drafter: str, request: int) -> tuple[float, float]:
        known = self._known[drafter]
        return known.others(request), known.wait_ms

    def price(self, drafter: str, now: float) -> float:
        """At this hour."""
        assert self._placement.prices is not None
        price = self._placement.prices[drafter]
        if not isinstance(price, list):
            return price
        self.begin(now)
        assert self._begun is not None
        return price[int(self._placement.hour + (now - self._begun) / HOUR_MS) % 24]

    def begin(self, now: float) -> None:
        """The run begins: its clock stands at the hour of `placement`."""
        if self._begun is None:
            self._begun = now

    def rtt_ms(self, drafter: str) -> float:
        return self._known[drafter].rtt_ms


Score = Callable[[Sites, str, int, float], tuple[float, ...]]

SCORES: Mapping[str, Score] = {
    "nearest": lambda sites, drafter, request, now: (sites.rtt_ms(drafter),),
    "nearest_idle": lambda sites, drafter, request, now: (
        (0.0, sites.rtt_ms(drafter)) if sites.idle(drafter, request) else (1.0, sites.cost_ms(drafter, request))
    ),
    "least_loaded": lambda sites, drafter, request, now: sites.load(drafter, request),
    "cheapest": lambda sites, drafter, request, now: (sites.price(drafter, now),),
    "load_aware": lambda sites, drafter, request, now: (sites.cost_ms(drafter, request),),
}
