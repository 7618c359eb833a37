"""The `prefix_cache:` of an experiment: what a node's models keep of requests that ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from testbed.files.strict import TOKENS, Strict
from testbed.policies.api import DeviceLimits
from testbed.policies.prefixes import PrefixCache

UNKNOWN_ROOM = 65_536  # tokens, where the device's profile does not say how many fit


class PrefixCaching(Strict):
    block_tokens: Annotated[int, TOKENS] = Field(
        default=16, ge=1, le=4096, description="texts are kept in whole blocks of this length; vLLM's is 16"
    )
    tokens: Annotated[int, TOKENS] | None = Field(
        default=None,
        ge=0,
        le=100_000_000,
        description="most tokens cached by one model at one node, open requests included; null: what its device's "
        f"key-value memory has room for, {UNKNOWN_ROOM} where that is not known, as for draft models",
    )

    def cache(self, limits: DeviceLimits) -> PrefixCache:
        """An empty one, of a model on a device with these limits."""
        room = UNKNOWN_ROOM if limits.kv_capacity_tokens is None else limits.kv_capacity_tokens
        return PrefixCache(self.block_tokens, room if self.tokens is None else min(room, self.tokens))
