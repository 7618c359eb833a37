"""Tries a loaded model: are its passes, single, over trees and in batches, those of the plain model without a cache?

Rule: what a model can do is found by trying, not by its name. A few passes over made-up tokens: text fed in pieces,
rewound and fed on; a tree; a ragged batch with a rewind. Where something changes at a length that the experiment can
reach (a sliding window, a chunk, a boundary of rotary positions), the text crosses it; where it cannot be reached, that
is not tried. `testbed.models.fitness` keeps the findings and says what follows from them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from testbed.errors import TestbedError
from testbed.files.reading import one_line
from testbed.models.compute import BatchingRuntime
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.folder import sees_ahead
from testbed.models.generation import left_alone
from testbed.models.guard import NotNumbers
from testbed.models.limits import room_of, rows_of
from testbed.models.load import LoadedModel, quiet
from testbed.models.reference import target_only
from testbed.models.views import views_of

SINGLE, TREE, BATCH = "single", "tree", "batch"
KINDS = (SINGLE, TREE, BATCH)
SHORT = 12  # tokens of the text that is always tried
BEYOND = 3  # by how many tokens a boundary is crossed
MORE = 8  # tokens that passes add to a text
GENERATED = 16
TOLERANCE = {"float64": 1e-6, "float32": 2e-3, "bfloat16": 0.5, "float16": 0.1}  # of a row's standard deviation
PARENTS = (-1, -1, -1, -1, 0, 1, 2, 4, 7)  # wide: a node that is counted by its place in the pass is far off
NODES = len(PARENTS)

MakeRuntime = Callable[[], BatchingRuntime]


class Findings(msgspec.Struct, frozen=True):
    """Why a kind of pass is wrong, in words; empty where it is right. `lengths` are those of the texts tried."""

    single: str = ""
    tree: str = ""
    batch: str = ""
    lengths: tuple[int, ...] = ()


class _Wrong(Exception):
    """Logits that are not the plain model's."""


def lengths_for(config: Any, reach: int) -> tuple[int, ...]:
    """Lengths of the texts to try, for an experiment whose texts reach so far."""
    return lengths(room_of(config), views_of(config).boundaries, reach)


def lengths(room: int | None, boundaries: Sequence[int], reach: int) -> tuple[int, ...]:
    """The same of a model that is not loaded (`testbed.models.facts`)."""
    wanted = [SHORT]
    for boundary in boundaries:
        if boundary < min(reach, room or reach):
            wanted += [boundary - BEYOND, boundary + BEYOND]
    most = (room or max(wanted) + MORE) - MORE
    return tuple(sorted({max(2, min(one, most)) for one in wanted}))


def examine(loaded: LoadedModel, make: MakeRuntime, reach: int) -> Findings:
    """Findings of one model in the runtime that `make` makes. Raises NotNumbers for a model that gives no numbers."""
    tried = lengths_for(loaded.model.config, reach)
    found = dict.fromkeys(KINDS, "")
    for length in tried:
        trial = _Trial(loaded, make, length)
        for kind, attempt in ((SINGLE, trial.single), (TREE, trial.tree), (BATCH, trial.batch)):
            if not found[kind]:
                found[kind] = _reason(attempt)
    return Findings(**found, lengths=tried)


def _reason(attempt: Callable[[], None]) -> str:
    """What is wrong with an attempt, whatever it raises: a model that cannot do it fails in its own words."""
    try:
        attempt()
    except NotNumbers:
        raise
    except (_Wrong, TestbedError) as wrong:
        return str(wrong)
    except Exception as error:
        return f"the pass ends in {type(error).__name__}: {one_line(error)}"
    return ""


class _Trial:
    """One text of `length` tokens, the passes over it, and what the plain model says."""

    def __init__(self, loaded: LoadedModel, make: MakeRuntime, length: int) -> None:
        self._model, self._make, self._length = loaded.model, make, length
        rows = rows_of(loaded.model.config) or 2
        draws = random.Random(length)
        self._ids = [draws.randrange(rows) for _ in range(length + MORE)]
        self._other = [draws.randrange(rows) for _ in range(SHORT + MORE)][: length + MORE]
        self._nodes = draws.sample(range(rows), NODES) if rows >= NODES else list(range(NODES))
        self._tolerance = TOLERANCE[str(loaded.model.dtype).removeprefix("torch.")]

    def single(self) -> None:
        """In pieces; on after a rewind; a fresh short request after a long one."""
        if sees_ahead(self._model):
            raise _Wrong(f"{type(self._model).__name__} is not a decoder, its tokens see those after them")
        runtime, ids, at = self._make(), self._ids, self._length
        self._same(runtime.forward(1, 0, ids[:at]), [ids[:at]])
        junk = list(reversed(ids[: MORE - 2]))
        runtime.forward(1, at, junk)
        texts = [ids[: at + count] for count in (1, 2, 3, 4)]
        self._same(runtime.forward(1, at, ids[at : at + 4], 4), texts)
        self._same(runtime.forward(1, at + 4, ids[at + 4 : at + 5]), [ids[: at + 5]])
        self._same(runtime.forward(2, 0, self._other[:5]), [self._other[:5]])
        self._same(runtime.forward(1, at, ids[at : at + 1]), [ids[: at + 1]])

    def tree(self) -> None:
        """Below the text's last tokens, and the text goes on afterwards as if there had been none."""
        runtime, ids, at = self._make(), self._ids, self._length
        runtime.forward(1, 0, ids[: at - 1])
        paths: list[list[int]] = []
        for node, parent in zip(self._nodes, PARENTS, strict=True):
            paths.append([*(paths[parent] if parent >= 0 else []), node])
        wanted = range(-1, NODES)
        rows = runtime.forward_tree(TreeFeed(1, at - 1, ids[at - 1 : at], self._nodes, PARENTS, wanted))
        self._same(rows, [ids[:at], *([*ids[:at], *path] for path in paths)])
        self._same(runtime.forward(1, at, ids[at : at + 1]), [ids[: at + 1]])

    def batch(self) -> None:
        """A long and a short request, then both again with the long one rewound."""
        runtime, ids, other, at = self._make(), self._ids, self._other, self._length
        first = runtime.forward_batch([BatchFeed(1, 0, ids[:at]), BatchFeed(2, 0, other[:5], 2)])
        self._same(first[0], [ids[:at]])
        self._same(first[1], [other[:4], other[:5]])
        back = max(1, at - 2)
        second = runtime.forward_batch([BatchFeed(2, 5, other[5:6]), BatchFeed(1, back, ids[back : at + 2], 2)])
        self._same(second[0], [other[:6]])
        self._same(second[1], [ids[: at + 1], ids[: at + 2]])

    def _same(self, rows: Any, texts: Sequence[Sequence[int]]) -> None:
        """Each row is the plain model's after the text."""
        for row, text in zip(np.asarray(rows), texts, strict=True):
            plain = self._plain(text)
            off = float(np.abs(row - plain).max()) / (float(plain.std()) or 1.0)
            if not off <= self._tolerance:
                raise _Wrong(
                    f"after {len(text)} tokens its logits are {off:.2g} standard deviations from the plain model's"
                )

    def _plain(self, text: Sequence[int]) -> Any:
        """Without a cache: the definition."""
        import torch

        with torch.inference_mode():
            given = torch.tensor([list(text)], device=self._model.device)
            logits = self._model(input_ids=given, use_cache=False).logits[0, -1]
        return logits.double().cpu().numpy()


def differs_from_generate(loaded: LoadedModel, make: MakeRuntime, prompt: Sequence[int]) -> str:
    """How target-only decoding leaves transformers' own `generate()` on a prompt, in words; empty if it does not.

    Both are greedy, with the checkpoint's own tokens that end an output. A first difference where the two best logits
    are as close as rounding is none.
    """
    room = room_of(loaded.model.config)
    count = GENERATED if room is None else min(GENERATED, room - len(prompt))
    if count < 1:
        return ""
    ours = target_only(make(), prompt, count, eos=loaded.ends)
    theirs = tuple(generated(loaded, prompt, count))
    for at, (our, their) in enumerate(zip(ours.tokens, theirs, strict=False)):
        if our != their:
            close = ours.gaps[at] <= TOLERANCE[str(loaded.model.dtype).removeprefix("torch.")]
            return "" if close else f"its token {at} is {our}, that of generate() is {their}"
    if len(ours.tokens) != len(theirs):
        return f"its output ends after {len(ours.tokens)} tokens, that of generate() after {len(theirs)}"
    return ""


def generated(loaded: LoadedModel, prompt: Sequence[int], count: int) -> Iterator[int]:
    """What transformers' own greedy `generate()` says after a prompt."""
    import torch

    model, settings = loaded.model, left_alone(loaded.model.generation_config)
    if model.generation_config.eos_token_id is None and loaded.ends:
        settings["eos_token_id"] = list(loaded.ends)
    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.inference_mode(), quiet():
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, pad_token_id=0, **settings
        )
    yield from output[0, len(prompt) :].tolist()
