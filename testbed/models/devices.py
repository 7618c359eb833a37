"""Device profiles: how long one forward pass takes on the device that is being emulated, and what its memory holds.

A profile is data with a source (`profiles/<device>/<model>.yaml`); this module only reads and interpolates it. It keeps
the rule that nothing is extrapolated in silence: a pass outside the profile's range is refused.

One pass over the feeds of one or several requests takes, in milliseconds,

    dense(Σ new) + attention_ms · Σ new · (new + cached) + kv_read_ms · Σ cached + sequence_ms · requests + step_ms

where `new` tokens of a request are fed and `cached` ones are already held. `dense`, the work on weights, is a staircase
on real devices and is kept as knots; the other terms are those of WISP's regression (arXiv 2601.11652). They are 0 in
profiles that do not give them, so there a pass takes the same time whatever is cached. Where the profile says that
passes vary (`varies`), each takes that long times its own factor.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from testbed.decoding.rng import uniform
from testbed.errors import BadInput
from testbed.files.reading import shown
from testbed.files.strict import MS, TOKENS, Terse, Unit
from testbed.files.yamlfile import explain, load_yaml, problem
from testbed.models.power import Power
from testbed.models.variation import Variation

NATIVE = "native"
MAX_PASS_MS = 3_600_000.0  # an hour: beyond it a figure is in another unit

Milliseconds = Annotated[float, MS, Field(ge=0, le=MAX_PASS_MS)]
Tokens = Annotated[int, TOKENS]
Knot = Annotated[
    tuple[Annotated[Tokens, Field(ge=1)], Annotated[float, MS, Field(gt=0, le=MAX_PASS_MS)]], Field(strict=False)
]  # a list in a file


class Feed(NamedTuple):
    """One request's part in a pass: tokens fed, and tokens of it that are cached before."""

    new: int
    cached: int = 0


def padded(feeds: Sequence[Feed]) -> list[Feed]:
    """The feeds as a device without ragged batches computes them: each as long as the longest."""
    longest = max(one.new for one in feeds)
    return [Feed(longest, one.cached) for one in feeds]


class DeviceProfile(Terse):
    """Time of one forward pass as a function of what is fed and cached; `pass_ms` is linear between knots."""

    quiet = ("power",)

    name: str = Field(description="its name; not given: that of its file")
    device: str = Field(description="the hardware")
    model: str = Field(description="the model that ran on it")
    kind: Literal["measured", "synthetic", "native"] = Field(
        description="measured: its time for one token is; synthetic: scaled from other measurements, as note says; "
        "native: passes take as long as they take on this machine"
    )
    source: str = Field(description="where the times come from")
    note: str = Field(default="", description="for readers: how the times were derived")
    pass_ms: tuple[Knot, ...] = Field(
        default=(),
        strict=False,
        description="knots [tokens in the pass, milliseconds], tokens ascending from 1; linear between knots",
        examples=[[[1, 12.0], [64, 13.5], [4096, 310.0]]],
    )
    max_pass_tokens: Tokens = Field(
        default=4096, gt=0, le=2**31, description="a longer feed is split into several passes"
    )
    attention_ms: Milliseconds = Field(default=0.0, description="per pair of a new token and a token it attends to")
    kv_read_ms: Milliseconds = Field(default=0.0, description="per cached token of a request in the pass")
    sequence_ms: Milliseconds = Field(default=0.0, description="per request in the pass")
    step_ms: Milliseconds = Field(default=0.0, description="per pass: launches, output layer, sampler, scheduling")
    kv_bytes_per_token: Annotated[int, Unit("bytes")] | None = Field(
        default=None, gt=0, le=2**40, description="keys and values of one token; null: not known"
    )
    kv_capacity_tokens: Tokens | None = Field(
        default=None,
        gt=0,
        le=2**40,
        description="tokens whose keys and values fit beside the weights; null: not limited",
    )

    varies: Variation | None = Field(
        default=None, description="how passes vary around the times above; null: each takes just as long"
    )
    power: Power | None = Field(
        default=None, description="what the device draws during a pass; null: not known, so runs have no joules"
    )

    @model_validator(mode="after")
    def _knots_ascend(self) -> DeviceProfile:
        if self.native and self.varies is not None:
            raise problem(("varies",), "a native device takes the time that it takes; leave varies out")
        counts = [tokens for tokens, _ in self.pass_ms]
        if counts != sorted(set(counts)):
            raise problem(("pass_ms",), "pass_ms needs ascending token counts")
        if self.kind != "native" and (not counts or counts[0] != 1 or counts[-1] < self.max_pass_tokens):
            raise problem(("pass_ms",), "pass_ms must reach from 1 token to max_pass_tokens")
        return self

    @property
    def native(self) -> bool:
        return self.kind == "native"

    @property
    def by_tokens_alone(self) -> bool:
        """Whether a pass takes the same time whatever is cached."""
        return self.attention_ms == 0 and self.kv_read_ms == 0

    def duration_ms(self, tokens: int, cached: int = 0) -> float:
        """Milliseconds one request's pass takes; 0 for `native`. Raises ValueError outside the knots."""
        return self.batch_ms((Feed(tokens, cached),))

    def long_ms(self, tokens: int) -> float:
        """What all but one in a hundred of one request's passes stay within."""
        return self.duration_ms(tokens) * (1.0 if self.varies is None else self.varies.factor(0.99))

    def batch_ms(self, feeds: Sequence[Feed]) -> float:
        """Milliseconds one pass over all these feeds takes; 0 for `native`. Raises ValueError outside the knots."""
        if self.native:
            return 0.0
        total = self._dense_ms(sum(one.new for one in feeds))
        if not self.by_tokens_alone:
            total += self.attention_ms * sum(one.new * (one.new + one.cached) for one in feeds)
            total += self.kv_read_ms * sum(one.cached for one in feeds)
        return total + self.sequence_ms * len(feeds) + self.step_ms

    def factor(self, seed: int, job: int, index: int) -> float:
        """By what the pass `index` of a device's job differs from these times; `seed` is the device's in this trial."""
        return 1.0 if self.varies is None else self.varies.factor(uniform(seed, job, index, "pass-time"))

    def _dense_ms(self, tokens: int) -> float:
        if not 1 <= tokens <= self.pass_ms[-1][0]:
            raise ValueError(f"{self.name}: {tokens} tokens are outside the profiled 1 to {self.pass_ms[-1][0]}")
        at = bisect_left(self.pass_ms, (tokens, 0.0))
        right_tokens, right_ms = self.pass_ms[at]
        if right_tokens == tokens:
            return right_ms
        left_tokens, left_ms = self.pass_ms[at - 1]
        return left_ms + (right_ms - left_ms) * (tokens - left_tokens) / (right_tokens - left_tokens)

    def passes(self, tokens: int) -> list[int]:
        """How a feed of `tokens` is cut into passes: full ones first."""
        full, rest = divmod(tokens, self.max_pass_tokens)
        return [self.max_pass_tokens] * full + ([rest] if rest else [])


@cache
def _shipped() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for device in resources.files("testbed.models").joinpath("profiles").iterdir():
        if device.is_dir():
            for file in device.iterdir():
                if file.name.endswith(".yaml"):
                    found[f"{device.name}/{file.name.removesuffix('.yaml')}"] = file
    return found


def names() -> list[str]:
    """Every profile that ships, `native` first."""
    return [NATIVE, *sorted(_shipped())]


def load_profile(name: str) -> DeviceProfile:
    """A shipped profile by name, or a profile file by path. Raises BadInput."""
    if name == NATIVE:
        return DeviceProfile(name=NATIVE, device="this machine", model="as loaded", kind="native", source="not paced")
    shipped = _shipped().get(name)
    path = Path(name)
    if shipped is None and path.suffix != ".yaml":
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(names())}"
        raise BadInput(f"device profile '{shown(name)}' does not exist{hint}, or a path to a .yaml")
    if shipped is not None:
        path = Path(str(shipped))
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(
            f"{shown(path)}:1: a device profile is a mapping with the keys device, model, kind, pass_ms, ..."
        )
    try:
        return DeviceProfile.model_validate({"name": name, **data})
    except ValidationError as error:
        raise explain(error, path, lines, DeviceProfile) from error
