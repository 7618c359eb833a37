"""The two losses: next token for a target, agreement with the target for a drafter.

1 - TV between the two distributions is exactly the acceptance probability of speculative sampling, so a drafter is
trained on KL (which has gradients everywhere) plus weighted TV (which is what the testbed measures).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional

from testbed.training.optimise import Loss


def next_token_loss(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the text itself."""
    logits = model(inputs).logits.float().flatten(0, 1)
    return functional.cross_entropy(logits, labels.flatten())


def distillation_loss(target: Any, total_variation: float) -> Loss:
    """KL(target || drafter) + `total_variation` x TV, averaged over positions."""

    def loss(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = functional.log_softmax(target(inputs).logits.float().flatten(0, 1), -1)
        given = functional.log_softmax(model(inputs).logits.float().flatten(0, 1), -1)
        divergence = functional.kl_div(given, wanted, log_target=True, reduction="batchmean")
        accepted = torch.minimum(given.exp(), wanted.exp()).sum(-1).mean()
        return divergence + total_variation * (1 - accepted)

    return loss
