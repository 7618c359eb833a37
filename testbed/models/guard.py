"""What every runtime checks of what goes in and comes out, whichever code runs the passes.

Rules: a token has a row, a text has positions, a kind of pass that was found wrong is not run, and logits are numbers:
argmax takes NaN as it takes anything, and the reference would take it too. All of it costs a pass microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import BadInput, RunInvalid
from testbed.models.fit import Fit
from testbed.models.limits import room_of, rows_of


class NotNumbers(RunInvalid):
    """Logits that are NaN or infinite."""


@dataclass(frozen=True)
class Guard:
    """Of one model. `refused`: why it is not right in a kind of pass; `sizes`: of the pair's vocabularies, in words."""

    name: str = "without a name"
    rows: int | None = None
    room: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    sizes: str = ""

    def fits(self, tokens: Sequence[int], end: int) -> None:
        """Raises RunInvalid for a token without a row, and for a text that is longer than there are positions."""
        if self.rows is not None and max(tokens) >= self.rows:
            raise RunInvalid(
                f"token {max(tokens)} was said, but model {self.name} has only {self.rows} rows "
                f"({self.sizes or f'vocab_size {self.rows}'}): choose a pair with the same vocabulary"
            )
        if self.room is not None and end > self.room:
            raise RunInvalid(f"model {self.name} has room for {self.room} tokens, but a pass reached {end}")

    def allows(self, kind: str) -> None:
        """Raises BadInput for a kind of pass that was found wrong."""
        if kind in self.refused:
            raise BadInput(self.refused[kind])

    def numbers(self, logits: Any) -> None:
        """Raises NotNumbers unless all logits are finite. A sum shows it in one reading; it may overflow by itself."""
        if not math.isfinite(logits.sum()) and not math.isfinite(abs(logits).max()):
            raise NotNumbers(f"model {self.name} returned logits that are not finite (damaged weights or an overflow)")


def guard_of(model: Any, fit: Fit | None = None) -> Guard:
    """Of a transformers model, with what is known of it."""
    name = str(model.name_or_path) or type(model).__name__
    known = fit or Fit()
    return Guard(name, rows_of(model.config), room_of(model.config), known.refused, known.sizes)
