"""The base of every model that a file fills: nothing unknown, nothing converted, nothing that is not finite.

Rule kept: no value is silently another one. `true` is not 1, "5" is not 5, 5.5 is not 5, and infinity and NaN are no
figures of anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen; a key that is unknown is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def not_finite(values: Mapping[str, Any]) -> str | None:
    """The key of a value that is infinite or NaN, or holds one: models of third parties may allow them."""
    return next((key for key, value in values.items() if _wild(value)), None)


def _wild(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_wild(one) for one in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_wild(one) for one in value)
    return isinstance(value, float) and not math.isfinite(value)
