"""How fast an emulated run goes: `time: {dilation: N}` makes N wall milliseconds of each emulated one.

Rule kept: one N for all policies of a run and all points of a sweep. It decides how long a run takes and what this
machine can carry, never what the run says: all results are in virtual time. It means nothing in simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from testbed.errors import BadInput
from testbed.files.strict import NUMBER, Strict

AUTO: Final = "auto"
LEAST, MOST = 0.25, 50.0
UNDILATED = 1.0
DIGITS = 3  # what the run's clock keeps: `testbed.clock.held.RATE_ONE`


def _kept(dilation: float) -> float:
    if round(dilation, DIGITS) != dilation:
        raise ValueError(f"write at most {DIGITS} digits after the point")
    return dilation


Dilation = Annotated[float, NUMBER, Field(ge=LEAST, le=MOST), AfterValidator(_kept)]


class Time(Strict):
    """How fast an emulated run goes."""

    dilation: Literal["auto"] | Dilation = Field(
        default=AUTO,
        description="emulated time takes so many times as long on this machine, in every policy of the run and every "
        "point of a sweep; below 1 it takes less; auto: the least from 1 that fits, by a pilot (testbed plan). All "
        "results are in emulated time. Ignored in simulation",
        examples=["auto", 1, 2.5, 0.25],
    )

    @property
    def given(self) -> float | None:
        """None: it is for the testbed to choose."""
        return None if self.dilation == AUTO else float(self.dilation)


def chosen(time: Time) -> float:
    """N that a run comes up with: where it is for the testbed to choose, a pilot at 1 says which (`emulation.plan`)."""
    return UNDILATED if time.given is None else time.given


def why_undilated(dilation: float, native: Sequence[str]) -> str | None:
    """Why this N is wrong where these keys of `devices:` are not paced; None where it is right."""
    if dilation == UNDILATED or not native:
        return None
    return (
        f"time.dilation: {dilation:g} would make devices.{native[0]}: native look {dilation:g} times as fast, as its "
        "passes take what they take here; use a device profile, or dilation: 1"
    )


def refuse_native(dilation: float, native: Sequence[str]) -> None:
    """BadInput as `why_undilated` says."""
    if (why := why_undilated(dilation, native)) is not None:
        raise BadInput(why)


def refuse_outsiders(dilation: float, who: str) -> None:
    """BadInput for `who` reads the machine's clock, by which a dilated network is another one."""
    if dilation != UNDILATED:
        raise BadInput(
            f"time.dilation: {who} would see a network {dilation:g} times as slow, as their clock is the machine's; "
            "use dilation: 1"
        )
