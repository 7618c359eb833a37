"""What a device draws while it computes, with the page or datasheet that says so.

Rule kept: a figure has a source; a device without one has no joules, and reports say that.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from testbed.files.strict import Strict, Unit


class Power(Strict):
    """Energy of a pass is its time by this; a device that waits counts nothing, so these are joules of passes."""

    busy_w: Annotated[float, Unit("W"), Field(gt=0, le=1_000_000)] = Field(description="while a pass runs")
    source: str = Field(min_length=1, description="the datasheet or page, and what its figure is (a limit, an average)")
