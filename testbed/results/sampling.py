"""How a run's tokens were chosen, in the words that stand on its results: what "lossless" means follows from it.

*Seeded coupling*: the target draws every token with a random number keyed by request seed and position, so the output
is that of target-only decoding with the same seed, whatever was drafted. *Rejection sampling*, for drafts drawn at
random (`draft: sampled`), keeps the law of the output but not its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

GREEDY = "greedy"
COUPLED = "seeded coupling"
REJECTION = "rejection sampling"


def sampling_of(scenario: Mapping[str, Any]) -> str:
    """Of a resolved scenario; names the policies where they differ."""
    if scenario["workload"]["sampling"]["temperature"] == 0:
        return GREEDY
    policies = scenario["policies"]
    rejecting = [entry["label"] for entry in policies if entry["params"].get("draft") == "sampled"]
    if not rejecting:
        return COUPLED
    return REJECTION if len(rejecting) == len(policies) else f"{COUPLED}; {REJECTION}: {', '.join(rejecting)}"


def unverified_by_choice(policies: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Labels of policies that were told to hand out unverified tokens: losslessness is given up there, not broken."""
    return tuple(entry["label"] for entry in policies if entry["params"].get("fall_back") is not None)


def unverified(counts: Mapping[str, int]) -> str:
    """What such a policy's outputs are, in words."""
    different = counts["checked"] - counts["equal"]
    return (
        f"emits unverified tokens (fall_back); of {counts['checked']} compared outputs, {different} differ from "
        "target-only decoding"
    )


def law_of(scenario: Mapping[str, Any]) -> str:
    """What is done to the logits of a sampled run, without what is at its default."""
    options = scenario["workload"]["sampling"]
    parts = [f"temperature {options['temperature']:g}"]
    parts += [f"top-k {options['top_k']}"] if options["top_k"] else []
    parts += [f"top-p {options['top_p']:g}"] if options["top_p"] < 1 else []
    return ", ".join(parts)
