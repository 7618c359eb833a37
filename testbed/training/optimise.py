"""One optimisation loop for targets and drafters: Muon on matrices, AdamW on the rest, linear decay.

Rule: a model's result depends on its seed, name and budget only, never on what was trained before it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from testbed.errors import MachineCannot
from testbed.training.options import Shape, TrainingOptions
from testbed.training.tokens import Tokens

WARM_UP = 0.02
CLIP_NORM = 1.0
Loss = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """What one model's training did, for the model card."""

    steps: int
    tokens: int
    first_loss: float
    final_loss: float  # mean of the last 5 % of steps
    cpu_s: float
    wall_s: float


def seed_of(options: TrainingOptions, name: str) -> int:
    """The seed of one model's weights and batches."""
    return options.seed * 1_000_003 + zlib.crc32(name.encode())


def new_model(shape: Shape, options: TrainingOptions, name: str) -> Any:
    """A freshly initialised Llama with tied embeddings. MachineCannot, before any step, where it cannot be trained."""
    if not hasattr(torch.optim, "Muon"):  # everything else here does with older ones
        raise MachineCannot(f"training: PyTorch {torch.__version__} has no torch.optim.Muon; install 2.9 or later")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed_of(options, name))
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=options.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            intermediate_size=max(64, 64 * round(shape.width * 8 / 3 / 64)),
            max_position_embeddings=options.positions,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


class Batches:
    """Random rows: the domain by its share, then core or broad text, then any place in it."""

    def __init__(self, streams: Sequence[Tokens], options: TrainingOptions, name: str) -> None:
        self._streams = streams
        self._options = options
        shares = np.array([stream.domain.share for stream in streams])
        self._shares = shares / shares.sum()
        self._random = np.random.default_rng(seed_of(options, name))

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Input ids [rows, tokens] and the next token of each."""
        length = self._options.row_tokens
        rows = []
        for choice in self._random.choice(len(self._streams), size=self._options.rows, p=self._shares):
            stream = self._streams[choice]
            text = stream.broad if self._random.random() < self._options.broad_share else stream.core
            start = int(self._random.integers(0, len(text) - length - 1))
            rows.append(text[start : start + length + 1].astype(np.int64))
        block = torch.from_numpy(np.stack(rows))
        return block[:, :-1], block[:, 1:]


def optimise(
    model: Any,
    loss_of: Loss,
    batches: Batches,
    options: TrainingOptions,
    tokens: int,
    learning_rate: float,
    progress: Callable[[str], None],
) -> Trained:
    """Train `model` in place on `tokens` tokens."""
    steps = max(1, tokens // (options.rows * options.row_tokens))
    optimisers = _optimisers(model, learning_rate)
    losses: list[float] = []
    cpu, wall = time.process_time(), time.monotonic()
    model.train()
    for step in range(steps):
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate * _pace(step, steps)
        inputs, labels = batches.next()
        with _arithmetic(options.precision):
            loss = loss_of(model, inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        for optimiser in optimisers:
            optimiser.step()
        model.zero_grad()
        losses.append(loss.item())
        if step % 100 == 0 or step == steps - 1:
            progress(f"step {step + 1}/{steps}, loss {losses[-1]:.3f}, {time.process_time() - cpu:.0f} s of CPU")
    model.eval()
    tail = losses[-max(1, steps // 20) :]
    return Trained(
        steps=steps,
        tokens=steps * options.rows * options.row_tokens,
        first_loss=round(losses[0], 4),
        final_loss=round(sum(tail) / len(tail), 4),
        cpu_s=round(time.process_time() - cpu, 1),
        wall_s=round(time.monotonic() - wall, 1),
    )


def _optimisers(model: Any, learning_rate: float) -> list[torch.optim.Optimizer]:
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.dim() == 2 and "embed" not in name else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=learning_rate, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _pace(step: int, steps: int) -> float:
    """Share of the learning rate: a short warm-up, then linear to (nearly) zero."""
    return min(1.0, (step + 1) / (WARM_UP * steps)) * max(0.02, 1 - step / steps)


def _arithmetic(precision: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
