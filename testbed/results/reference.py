"""What the papers report, to print beside what a run measured. Figures, never verdicts: settings differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A published result for one policy, with the setting it holds for."""

    policy: str
    target_site_draft_ratio: float
    latency_ratio: float
    setting: str
    caveat: str
    source: str

    @property
    def sentence(self) -> str:
        return (
            f"about {self.target_site_draft_ratio} of target-site drafts and about {self.latency_ratio} of the "
            f"latency {self.setting}; {self.caveat} ({self.source})"
        )


# One L40S a node, Llama-3.1-8B with Llama-3.2-1B, MT-Bench, 100 tokens, k = 2, b = 1, us-east-1 with us-east-2.
WANSPEC = Reference(
    policy="wanspec",
    target_site_draft_ratio=0.5,
    latency_ratio=1.0,
    setting="at 10 to 20 ms RTT",
    caveat="latency slightly up at about 70 ms",
    source="WANSpec, arXiv 2602.18931, Fig. 9",
)


def reference_for(policy: str) -> Reference | None:
    """The published figures for a policy, by its registered name."""
    return WANSPEC if policy == WANSPEC.policy else None
