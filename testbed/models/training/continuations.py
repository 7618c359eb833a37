"""The target's own greedy continuations, as training text for drafters.

Prompts of other authors lead the target away from the books; there a drafter must guess the target's habits, so
some of its rows are what the target itself says after a few words of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from testbed.models.training.optimise import seed_of
from testbed.models.training.options import TrainingOptions
from testbed.models.training.tokens import Ids, Tokens

OPENING = 24  # tokens of text before each continuation
TOGETHER = 64  # rows decoded in one batch
NAME = "continuations"


def continue_text(
    target: Any, streams: Sequence[Tokens], options: TrainingOptions, progress: Callable[[str], None]
) -> list[Ids]:
    """Rows of one training row's length, opened by text outside the core, in the domains' shares."""
    random = np.random.default_rng(seed_of(options, NAME))
    shares = np.array([stream.domain.share for stream in streams])
    openings = []
    for choice in random.choice(len(streams), size=options.continuations, p=shares / shares.sum()):
        stream = streams[choice]
        near = min(len(stream.broad), 2 * len(stream.core))  # the pages that follow the core are most like it
        end = near if random.random() < 0.5 else len(stream.broad)
        start = int(random.integers(0, end - OPENING))
        openings.append(stream.broad[start : start + OPENING].astype(np.int64))
    rows: list[Ids] = []
    for first in range(0, len(openings), TOGETHER):
        rows.extend(_decode(target, np.stack(openings[first : first + TOGETHER]), options.row_tokens + 1))
        progress(f"{NAME}: {len(rows)} of {len(openings)} rows")
    return rows


def _decode(target: Any, openings: np.ndarray[Any, np.dtype[np.int64]], length: int) -> list[Ids]:
    """Greedy continuation of equally long openings to `length` tokens."""
    from transformers import DynamicCache

    text = fed = torch.from_numpy(openings)
    cache = DynamicCache()
    with torch.inference_mode():
        while text.shape[1] < length:
            logits = target(fed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            fed = logits[:, -1].argmax(-1, keepdim=True)
            text = torch.cat([text, fed], 1)
    return list(text.numpy().astype(np.uint16))
