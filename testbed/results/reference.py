"""What the papers report, to print beside what a run measured. Figures, never verdicts: settings differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reference:
    """A published result for one policy, with the setting it holds for; None where the paper gives no number."""

    policy: str
    target_site_draft_ratio: float | None
    latency_ratio: float | None
    setting: str
    statement: str
    source: str

    @property
    def sentence(self) -> str:
        return f"{self.setting}: {self.statement} ({self.source})"


# One L40S a node, Llama-3.1-8B with Llama-3.2-1B, MT-Bench, 100 tokens, k = 2, b = 1, controller in us-east-1.
_SOURCE = "WANSpec, arXiv 2602.18931, Fig. 9"
WANSPEC_SAME_COAST = Reference(
    policy="wanspec",
    target_site_draft_ratio=0.5,
    latency_ratio=1.0,
    setting="at 10 to 20 ms RTT",
    statement="about half of the draft steps leave the target's site, latency slightly lower",
    source=_SOURCE,
)
WANSPEC_CROSS_COUNTRY = Reference(
    policy="wanspec",
    target_site_draft_ratio=None,
    latency_ratio=None,
    setting="at about 70 ms RTT",
    statement="gains fade, some latency increase; no number given",
    source=_SOURCE,
)
SAME_COAST_UP_TO_MS = 30.0  # the paper's own limit of usefulness lies at 30 to 40 ms


def reference_for(policy: Mapping[str, Any]) -> Reference | None:
    """The published figures for one entry of the manifest's `policies`, by registered name and distance."""
    if policy["name"] != "wanspec":
        return None
    rtt_ms = policy.get("target_drafter_rtt_ms")
    return WANSPEC_CROSS_COUNTRY if rtt_ms is not None and rtt_ms > SAME_COAST_UP_TO_MS else WANSPEC_SAME_COAST
