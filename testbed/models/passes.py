"""Which code runs a model's passes: the lean path for the decoders it knows, transformers for every other model.

Both have the same methods (`testbed.models.compute.Runtime`) and the same logits up to the arithmetic's rounding.
transformers alone is the reference: target-only outputs never come from the lean path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from testbed.errors import BadInput
from testbed.models.batch import BatchRuntime
from testbed.models.fit import Fit
from testbed.models.guard import Guard, guard_of
from testbed.models.lean.kinds import NotLean, decoder_of
from testbed.models.lean.pack import Packed
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.lookup import LOOKUP, LookupRuntime

Choice = Literal["auto", "lean", "transformers"]  # auto: lean where it is known
LEAN, TRANSFORMERS = get_args(Choice)[1:]


@dataclass(frozen=True)
class Passes:
    """How one model's passes run; `runtime` makes separate caches over the same weights."""

    path: str
    why: str  # it is not the other path; empty where nothing is to be said
    runtime: Callable[[], BatchRuntime | LeanRuntime | LookupRuntime]

    @property
    def described(self) -> str:
        """For the manifest and for people."""
        return f"{self.path} ({self.why})" if self.why else self.path


def passes_of(model: Any, choice: Choice = "auto", fitness: Fit | None = None) -> Passes:
    """The path of a transformers model. A lean one does not keep the model: it may be dropped."""
    guard = guard_of(model, fitness)
    if choice == TRANSFORMERS:
        return Passes(TRANSFORMERS, "as asked", lambda: BatchRuntime(model, guard))
    try:
        decoder = decoder_of(model)
    except NotLean as reason:
        if choice == LEAN:
            raise BadInput(f"{type(model).__name__} has no lean implementation: {reason}; use passes: auto") from None
        return Passes(TRANSFORMERS, f"not lean: {reason}", lambda: BatchRuntime(model, guard))
    return Passes(LEAN, "", lambda: LeanRuntime(decoder, guard))


def passes_of_pack(name: str, packed: Packed, fitness: Fit | None = None) -> Passes:
    """The lean path of a model whose pack there is; nothing of transformers is needed."""
    known, contents = fitness or Fit(), packed.contents
    guard = Guard(name, contents.rows, contents.room, known.refused, known.sizes)
    return Passes(LEAN, "", lambda: LeanRuntime(packed.decoder, guard))


def passes_of_lookup(vocabularies: Mapping[str, int]) -> Passes:
    """Of the drafter without a model; `vocabularies` by role, of which it has the target's."""
    return Passes(LOOKUP, "", lambda: LookupRuntime(vocabularies["target"]))
