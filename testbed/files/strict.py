"""The base of every model that a file fills: nothing unknown, nothing converted, nothing that is not finite.

Rule kept: no value is silently another one. `true` is not 1, "5" is not 5, 5.5 is not 5, and infinity and NaN are no
figures of anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Strict(BaseModel):
    """Frozen; a key that is unknown is refused, one of `renamed` with its new name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}


class Terse(Strict):
    """Keys of `quiet` are dumped only where they say something: a model that gained them stays what it was."""

    quiet: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _terse(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        held: dict[str, Any] = serialized(self)
        for key in self.quiet:
            if key in held and getattr(self, key) == type(self).model_fields[key].get_default(
                call_default_factory=True
            ):
                del held[key]
        return held


@dataclass(frozen=True)
class Unit:
    """What a number is measured in, or what it counts: stands in a number's annotation, for schema and reference."""

    name: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "unit": self.name}


SHARE = Unit("share")  # 0.5, not 50 %
NUMBER = Unit("1")  # a pure number
MS = Unit("ms")
S = Unit("s")
NATS = Unit("nats")
TOKENS = Unit("tokens")
TOKENS_PER_S = Unit("tokens/s")
REQUESTS = Unit("requests")
REQUESTS_PER_S = Unit("requests/s")
DEGREES = Unit("degrees")
MBIT_PER_S = Unit("Mbit/s")


def not_finite(values: Mapping[str, Any]) -> str | None:
    """The key of a value that is infinite or NaN, or holds one: models of third parties may allow them."""
    return next((key for key, value in values.items() if _wild(value)), None)


def _wild(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_wild(one) for one in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_wild(one) for one in value)
    return isinstance(value, float) and not math.isfinite(value)
