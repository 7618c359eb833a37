"""Other tenants of a device, as both engines and the nodes are told of them: what they ask, and what they may hold.

Plain data, so that it can be sent to a node. Who they are and where is said by an experiment (`experiment.background`),
what they do to a device by `nodes.tenants`.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import chain, count
from typing import TYPE_CHECKING, Literal

import msgspec

from testbed.system.units import NS_PER_S
from testbed.workload.load.asked import Asked, Trace

if TYPE_CHECKING:
    from testbed.workload.load.profile import Profile
    from testbed.workload.load.source import Load


Shape = tuple[float, int, int]  # seconds, input tokens, output tokens


class Tenant(msgspec.Struct, frozen=True):
    """One load on the device: a profile as JSON, or a trace's requests. Its beginning is `begin_s` of the load."""

    seed: str
    begin_s: float
    rate_scale: float
    time_scale: float
    token_scale: float
    profile: str = ""
    trace: tuple[Shape, ...] = ()

    @classmethod
    def of(
        cls, load: Load, seed: str, begin_s: float, rate_scale: float, time_scale: float, token_scale: float
    ) -> Tenant:
        from testbed.workload.load.profile import Profile

        if isinstance(load.of, Profile):
            return cls(seed, begin_s, rate_scale, time_scale, token_scale, load.of.model_dump_json())
        shapes = tuple((one.at_s, one.input_tokens, one.output_tokens) for one in load.of.requests)
        return cls(seed, begin_s, rate_scale, time_scale, token_scale, trace=shapes)

    def requests(self) -> Iterator[tuple[int, int, int]]:
        """Nanoseconds after its beginning, input and output tokens, earliest first, without end."""
        from testbed.workload.load.profile import Profile  # most nodes have no tenants, and need no reader of files
        from testbed.workload.load.source import Load

        of: Profile | Trace
        if self.profile:
            of = Profile.model_validate_json(self.profile, strict=False)
        else:
            of = Trace("", "", tuple(Asked(*one) for one in self.trace), "", None, {})
        load = Load("", of, "")
        span_s = load.seconds
        # in stretches, each of which begins anew: a load has no end
        stretches = (
            (turn * span_s, load.requests(f"{self.seed}/{turn}", at_s, at_s + span_s, self.rate_scale))
            for turn in count()
            for at_s in [self.begin_s + turn * span_s]
        )
        for after_s, one in chain.from_iterable(((after_s, one) for one in some) for after_s, some in stretches):
            at_ns = round((after_s + one.at_s) * self.time_scale * NS_PER_S)
            lengths = (max(1, round(tokens * self.token_scale)) for tokens in (one.input_tokens, one.output_tokens))
            yield (at_ns, *lengths)  # type: ignore[misc]  # two of them


class Background(msgspec.Struct, frozen=True):
    """All tenants of one device, which one server decodes for: those that it runs share its passes.

    `model`: whose passes they are. `max_batch` requests run at a time, and hold at most `kv_share` of its memory.
    """

    model: Literal["target", "draft"]
    tenants: tuple[Tenant, ...]
    max_batch: int
    kv_share: float

    def requests(self) -> Iterator[tuple[int, int, int]]:
        return merge(*(one.requests() for one in self.tenants))
