"""Device profiles: how long one forward pass takes on the device that is being emulated, and what its memory holds.

A profile is data with a source (`profiles/<device>/<model>.yaml`); this module reads it, `testbed.models.timing` does
its arithmetic. Nothing is extrapolated in silence: a pass outside the profile's range is refused.

One pass over the feeds of one or several requests takes, in milliseconds,

    dense(Σ new) + attention_ms · Σ new · (new + cached) + kv_read_ms · Σ cached + sequence_ms · requests + step_ms

where `new` tokens of a request are fed and `cached` ones are already held. `dense`, the work on weights, is a staircase
on real devices and is kept as knots; the other terms are those of WISP's regression (arXiv 2601.11652). They are 0 in
profiles that do not give them, so there a pass takes the same time whatever is cached. Where the profile says that
passes vary (`varies`), each takes that long times its own factor.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.reading import shown
from testbed.files.strict import MS, TOKENS, Terse, Unit
from testbed.files.yamlfile import filling, load_yaml, problem
from testbed.models.power import Power
from testbed.models.timing import Timed, Timing
from testbed.models.variation import Variation

NATIVE = "native"
MAX_PASS_MS = 3_600_000.0  # an hour: beyond it a figure is in another unit

Milliseconds = Annotated[float, MS, Field(ge=0, le=MAX_PASS_MS)]
Tokens = Annotated[int, TOKENS]
Knot = Annotated[
    tuple[Annotated[Tokens, Field(ge=1)], Annotated[float, MS, Field(gt=0, le=MAX_PASS_MS)]], Field(strict=False)
]  # a list in a file


class DeviceProfile(Timed, Terse):
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
    def timing(self) -> Timing:
        """What a worker is told of it."""
        return Timing(
            self.name,
            self.native,
            self.pass_ms,
            self.max_pass_tokens,
            self.attention_ms,
            self.kv_read_ms,
            self.sequence_ms,
            self.step_ms,
            None if self.varies is None else self.varies.factors,
        )


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
    with filling(path, DeviceProfile, lines):
        return DeviceProfile.model_validate({"name": name, **data})
