"""Measure a trained pair as it will be used: loaded from its folder, on core text, held-out text and prompt files.

The numbers go into the model card; `testbed.models.check` measures the same and more on any pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from testbed.models.agreement import Agreement, acceptance, judge, rejection_auc, tokens_per_round
from testbed.models.reference import Reference, target_only
from testbed.models.runtime import CausalRuntime
from testbed.training.options import TrainingOptions
from testbed.training.tokens import Tokens
from testbed.workload.prompts import load_prompts

WINDOW = 64
Prompts = dict[str, list[tuple[str, list[int]]]]  # set name -> (domain, token ids)


def evaluation_prompts(streams: Sequence[Tokens], tokenizer: Any, options: TrainingOptions) -> Prompts:
    """Windows of core and held-out text in the training shares, and every prompt file by its stem."""
    random = np.random.default_rng(options.seed + 1)
    sets: Prompts = {"core": [], "held_out": []}
    for stream in streams:
        for name, text, count in (
            ("core", stream.core, options.windows),
            ("held_out", stream.held_out, options.windows // 2),
        ):
            for _ in range(round(count * stream.domain.share) if len(text) > WINDOW else 0):
                start = int(random.integers(0, len(text) - WINDOW))
                sets[name].append((stream.domain.name, text[start : start + WINDOW].tolist()))
    for path in options.prompts:
        sets[path.stem] = [
            (prompt.domain, tokenizer(prompt.text)["input_ids"]) for prompt in load_prompts(str(path)).prompts
        ]
    return {name: prompts for name, prompts in sets.items() if prompts}


def reference_outputs(target: Any, prompts: Prompts, options: TrainingOptions) -> dict[str, list[Reference]]:
    """The target's greedy output for every prompt."""
    runtime = CausalRuntime(target)
    return {name: [target_only(runtime, ids, options.generate) for _, ids in rows] for name, rows in prompts.items()}


def describe_target(references: Mapping[str, list[Reference]]) -> dict[str, dict[str, float]]:
    """Entropy and smallest top-2 gap of the target, by prompt set."""
    return {
        name: {
            "mean_entropy_nats": _round(np.mean([value for one in rows for value in one.entropies])),
            "smallest_margin": float(f"{min(value for one in rows for value in one.gaps):.2e}"),
        }
        for name, rows in references.items()
    }


def describe_drafter(drafter: Any, prompts: Prompts, references: Mapping[str, list[Reference]]) -> dict[str, Any]:
    """Acceptance by prompt set and domain, tokens a round for k = 1..8, and what entropy tells about rejection."""
    runtime = CausalRuntime(drafter)
    answer: dict[str, Any] = {}
    for name, rows in prompts.items():
        judged = [judge(runtime, ids, one) for (_, ids), one in zip(rows, references[name], strict=True)]
        domains: dict[str, list[Agreement]] = {}
        for (domain, _), one in zip(rows, judged, strict=True):
            domains.setdefault(domain, []).append(one)
        auc = rejection_auc(judged)
        answer[name] = {
            "prompts": len(rows),
            "greedy_acceptance": _round(acceptance(judged)),
            "by_domain": {domain: _round(acceptance(part)) for domain, part in sorted(domains.items())},
            "tokens_per_round_k1_to_8": [_round(tokens_per_round(judged, k)) for k in range(1, 9)],
            "entropy_predicts_rejection_auc": None if auc is None else _round(auc),
        }
    return answer


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 3)
