"""The conditions under which a policy is checked: requests, models, distances and speeds of each run."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.policies import api
from testbed.testing.models import HashModels, Job, VariedModels

# Of a device like those in the shipped profiles: passes of 20 to 60 ms, for policies that plan with them.
LIMITS = api.DeviceLimits(
    kv_capacity_tokens=100_000,
    max_pass_tokens=2048,
    profiled=tuple(
        (fed, fed * (fed + cached), cached, 20.0 + 0.02 * fed + 1e-4 * cached + 1e-6 * fed * (fed + cached))
        for fed in (1, 8, 64, 512)
        for cached in (0, 512, 4096)
    ),
)
VOCABULARY = 12  # small, so that outputs end early at the end-of-text token and wrong drafts are common


@dataclass(frozen=True)
class Case:
    """One set of conditions. Times in milliseconds."""

    seed: int = 0
    rtt_ms: float = 10.0
    jitter_ms: float = 0.0
    t_draft_ms: float = 7.5
    match: float = 0.75
    users: int = 1
    drafters: int = 1
    requests: int = 4
    max_tokens: int = 24
    ends: bool = False  # an end-of-text token ends outputs early
    link_samples: bool = True
    slo_tokens_per_s: float | None = None

    def jobs(self) -> list[Job]:
        return [
            Job(
                number, (self.seed % VOCABULARY, number, 1, 2)[: 1 + (self.seed + number) % 4], self.max_tokens,
                (5,) if self.ends else (), at_ms=3.0 * number, slo_tokens_per_s=self.slo_tokens_per_s,
            )
            for number in range(self.requests)
        ]  # fmt: skip

    def models(self) -> HashModels:
        kind = VariedModels if self.seed % 2 else HashModels
        salts = {"target0": 2, "drafter0": 1, "drafter1": 3} if self.drafters > 1 else {}
        return kind(self.seed, VOCABULARY, self.match, salts)

    def said(self) -> str:
        """The conditions that differ from the default, for a message."""
        default = Case()
        given = [f"{name}={value}" for name, value in vars(self).items() if value != getattr(default, name)]
        return ", ".join(given) or "default conditions"


def cases() -> list[Case]:
    """Near and far, calm and jittery, slow and fast drafters, useless and perfect drafts, short and ended outputs."""
    near_and_far = [
        Case(seed=seed, rtt_ms=rtt_ms, ends=seed % 3 == 0) for seed, rtt_ms in enumerate([0.0, 10.0, 70.0, 200.0] * 3)
    ]
    return [
        *near_and_far,
        *(Case(seed=seed, rtt_ms=20.0, jitter_ms=60.0, t_draft_ms=t, requests=2)
          for seed, t in enumerate([0.5, 7.5, 40.0] * 2)),
        *(Case(seed=seed, match=match) for seed, match in enumerate([0.0, 1.0] * 2)),
        *(Case(seed=seed, max_tokens=tokens, requests=2) for seed, tokens in enumerate([1, 2, 3, 4])),
        *(Case(seed=seed, users=3, drafters=2, requests=6, rtt_ms=20.0, slo_tokens_per_s=rate)
          for seed, rate in enumerate([None, 2.0, 50.0])),
        Case(seed=1, rtt_ms=20.0, requests=1),
        Case(seed=2, rtt_ms=20.0, link_samples=False),
    ]  # fmt: skip
