"""The choices: from what a user knows of each target to the one that its next request goes to.

Pure functions of `Known`, the request and the user's own counter; chance is keyed by the request's seed, so it is the
same in both engines and for every policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from testbed.decoding.rng import uniform
from testbed.policies.api import RequestArrived
from testbed.policies.estimates import RecentMedian
from testbed.policies.routing.options import Routing
from testbed.wire.messages import Load


class _Sent:
    """A request of this user's at a target."""

    __slots__ = ("at", "left")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.left = tokens  # that it may still get


class Known:
    """One target as one user knows it. Times are milliseconds, as the role's `now`."""

    def __init__(self) -> None:
        self._rtt = RecentMedian()
        self._heard: float | None = None  # when a ping was last answered
        self._report: Load | None = None
        self._reported = 0.0
        self._sent: dict[int, _Sent] = {}

    @property
    def rtt_ms(self) -> float:
        """0 before the first measured round trip: nothing speaks against it."""
        return self._rtt.value or 0.0

    def sample(self, rtt_ms: float, now: float) -> None:
        self._rtt.add(rtt_ms)
        self._heard = now

    @property
    def deviation_ms(self) -> float:
        """How far its round trips are from their median, in the mean."""
        return self._rtt.deviation

    def silent_from(self, failover_ms: float) -> float:
        """When it will have been silent for so long."""
        return (self._heard or 0.0) + failover_ms

    def reported(self, report: Load, now: float) -> None:
        if self._report is None or report.number > self._report.number:
            self._report, self._reported = report, now

    def sent(self, request: int, tokens: int, now: float) -> None:
        self._sent[request] = _Sent(now, tokens)

    def emitted(self, request: int, tokens: int) -> None:
        self._sent[request].left -= tokens

    def gone(self, request: int) -> None:
        """The request has had its last token, or went elsewhere."""
        self._sent.pop(request, None)

    @property
    def open(self) -> int:
        """Requests there: those reported, and this user's that the report cannot count yet."""
        return (0 if self._report is None else self._report.open) + len(self._unreported())

    @property
    def tokens(self) -> int:
        """Tokens it still has to emit, likewise."""
        return (0 if self._report is None else self._report.left) + sum(one.left for one in self._unreported())

    def _unreported(self) -> list[_Sent]:
        """Sent later than a round trip before the report came: it had not arrived when the report was made."""
        since = self._since()
        return [one for one in self._sent.values() if one.at > since]

    def _since(self) -> float:
        """What was sent until then had arrived when the report was made."""
        return self._reported - self.rtt_ms if self._report is not None else float("-inf")

    @property
    def pace_ms(self) -> float:
        """As reported; 0: it is not known."""
        return 0.0 if self._report is None else self._report.pace_us / 1e3

    @property
    def wait_ms(self) -> float:
        """That others make a pass wait there, as reported."""
        return 0.0 if self._report is None else self._report.wait_us / 1e3

    def predicted_ms(self, tokens: int) -> float:
        """Until the last of so many more tokens is here, at the pace that the target reported; none yet: no time."""
        return self.rtt_ms + (self.tokens + tokens) * self.pace_ms


Score = Callable[[Known, RequestArrived], float]

LEAST: Mapping[str, Score] = {
    "nearest": lambda known, request: known.rtt_ms,
    "jsq": lambda known, request: known.open,
    "least_loaded": lambda known, request: known.tokens,
    "power_of_two": lambda known, request: known.open,
    "predicted": lambda known, request: known.predicted_ms(request.max_tokens),
}


def choose(
    routing: Routing, targets: Sequence[str], known: Mapping[str, Known], request: RequestArrived, turn: int
) -> str:
    """One of `targets`. `turn` counts this user's requests, from the user's own number on: users do not move in step.

    Of equal targets the nearer one is chosen, then the next in turn.
    """
    turned = [*targets[turn % len(targets) :], *targets[: turn % len(targets)]]
    if routing.rule == "round_robin":
        return turned[0]
    if routing.rule == "weighted":
        weights = [(routing.weights or {}).get(target, 1.0) for target in targets]
        at = uniform(request.sampling.seed, request.request, 0, "route") * sum(weights)
        for target, weight in zip(targets, weights, strict=True):
            at -= weight
            if at < 0:
                return target
        return targets[-1]
    if routing.rule == "power_of_two":
        turned = _two(targets, request)
    score = LEAST[routing.rule]
    return min(turned, key=lambda target: (score(known[target], request), known[target].rtt_ms))


def _two(targets: Sequence[str], request: RequestArrived) -> list[str]:
    """Two different ones, each pair as likely."""
    left = list(targets)
    drawn = []
    for place in range(min(2, len(left))):
        drawn.append(left.pop(int(uniform(request.sampling.seed, request.request, place, "route") * len(left))))
    return drawn
