"""A request before it is issued: what to ask, when, and its user's SLO."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from testbed.decoding.sampling import Sampling
from testbed.policies.api import RequestArrived


class PlannedRequest(msgspec.Struct, frozen=True):
    """One request the user node will issue. `due_ms` counts from the start; None: as soon as the previous one ended."""

    request: int
    prompt_id: str
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    eos: tuple[int, ...]  # tokens that end the output
    due_ms: float | None
    slo_tokens_per_s: float | None = None  # the SLO of its user
    user: int | None = None  # whose it is, by number; None: users have them in turn
    think_ms: float = 0.0  # without `due_ms`: what the user waits after the previous one

    def arrived(self) -> RequestArrived:
        """What the user's role is told when it is due: not its prompt's name, nor when it was to come."""
        return RequestArrived(
            self.request, self.prompt, self.max_tokens, self.sampling, self.eos, self.slo_tokens_per_s
        )


def by_user(planned: Sequence[PlannedRequest], users: Sequence[str]) -> dict[str, list[PlannedRequest]]:
    """Who asks what, in both engines."""
    of: dict[str, list[PlannedRequest]] = {user: [] for user in users}
    for index, one in enumerate(planned):
        of[users[index % len(users) if one.user is None else one.user]].append(one)
    return of
