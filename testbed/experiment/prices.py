"""The price table of an experiment: what an hour of a device, a gigabyte between sites and a kilowatt-hour cost.

Rule kept: nothing is free by omission. A role whose devices computed and that has no price leaves the cost undefined.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from testbed.files.strict import Strict, Unit

Role = Literal["user", "target", "drafter"]
Hourly = Annotated[float, Unit("currency/h"), Field(ge=0, le=1_000_000)]
PerGigabyte = Annotated[float, Unit("currency/GB"), Field(ge=0, le=1_000_000)]
PerKilowattHour = Annotated[float, Unit("currency/kWh"), Field(ge=0, le=1_000_000)]


class Prices(Strict):
    """Devices are paid for while they compute; waiting costs nothing here."""

    source: str = Field(min_length=1, description="where the prices come from, and of which day; say so if made up")
    currency: str = Field(default="USD", min_length=1, description="for readers")
    device_h: dict[Role, Hourly | dict[str, Hourly]] = Field(
        description="an hour of computing, by the node's role, for all sites or by site; 0: somebody else pays",
        examples=[{"target": 1.8, "drafter": {"us-east-2": 0.7, "us-west-2": 0.8}, "user": 0}],
    )
    wan_gb: PerGigabyte | dict[str, PerGigabyte] = Field(
        description="10^9 bytes sent to another site, for all or by sending site", examples=[0.02]
    )
    kwh: PerKilowattHour = Field(default=0.0, description="energy of passes, where it is paid for apart")

    def device_s(self, role: str, site: str) -> float | None:
        """A second of computing; None: no price."""
        known = self.device_h.get(role)  # type: ignore[call-overload]
        hour = known.get(site) if isinstance(known, dict) else known
        return None if hour is None else hour / 3600

    def wan_byte(self, site: str) -> float | None:
        known = self.wan_gb
        gigabyte = known.get(site) if isinstance(known, dict) else known
        return None if gigabyte is None else gigabyte / 1e9
