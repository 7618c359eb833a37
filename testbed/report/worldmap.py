"""Regions on a map and their round-trip times in a matrix, as text: pure, fitted to a width.

Sites that are alike, behind one region over one kind of line, have one row for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from testbed.network.spec.access import Region
from testbed.network.spec.places import position
from testbed.network.spec.topology import Topology

SHADES = ".:-=+*#%@"  # short to long round trips
SYMBOLS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NO_BREAK = "\u00a0"
OWN, NONE = "\\", " "
LEAST_SPAN = 12.0  # degrees: regions of one city are not spread over the whole map
LEAST_HEIGHT = 0.25  # of the width
MERIDIANS = (60, 30, 15, 10, 5, 2)  # degrees between lines of the graticule


@dataclass(frozen=True)
class Site:
    """One row of the matrix. `count`: how many sites it stands for."""

    region: Region
    count: int
    lat: float | None
    lon: float | None

    @property
    def name(self) -> str:
        return self.region.name if self.count == 1 else f"{self.region.name} (1 of {self.count})"


def sites(topology: Topology) -> list[Site]:
    """The regions, and of sites that are alike the first."""
    by_name = {one.name: one for one in topology.regions}
    alike: dict[tuple[str, ...], list[Region]] = {}
    for one in topology.regions:
        key = (one.name,) if one.behind is None else (one.behind, str(one.access))
        alike.setdefault(key, []).append(one)
    found = []
    for several in alike.values():
        lat, lon = position(several[0], by_name) or (None, None)
        found.append(Site(several[0], len(several), lat, lon))
    return found


@dataclass(frozen=True)
class Window:
    """The part of the world that is drawn, in degrees."""

    west: float
    east: float
    south: float
    north: float

    @property
    def step(self) -> int:
        """Degrees between two lines."""
        span = max(self.east - self.west, self.north - self.south)
        return next((one for one in MERIDIANS if span / one >= 5), MERIDIANS[-1])

    def lines(self) -> tuple[list[int], list[int]]:
        """Meridians and parallels inside."""
        step = self.step
        lons = [at for at in range(-180, 181, step) if self.west <= at <= self.east]
        return lons, [at for at in range(-90, 91, step) if self.south <= at <= self.north]


def window(found: Sequence[Site]) -> Window | None:
    """Around all sites, with a margin; None where no place is known."""
    places = [(one.lat, one.lon) for one in found if one.lat is not None and one.lon is not None]
    if not places:
        return None
    lats, lons = [lat for lat, _ in places], [lon for _, lon in places]
    west, east = _around(min(lons), max(lons), 180.0)
    south, north = _around(min(lats), max(lats), 85.0)
    if (short := LEAST_HEIGHT * (east - west) - (north - south)) > 0:
        south, north = max(-85.0, south - short / 2), min(85.0, north + short / 2)
    return Window(west, east, south, north)


def _around(low: float, high: float, most: float) -> tuple[float, float]:
    margin = max((high - low) * 0.08, (LEAST_SPAN - (high - low)) / 2, 2.0)
    return max(-most, low - margin), min(most, high + margin)


def text_map(found: Sequence[Site], width: int) -> list[str]:
    """Lines of a map with a graticule, and a legend. Empty where no place is known."""
    view = window(found)
    if view is None:
        return []
    # a character is twice as high as it is wide
    height = max(8, min(30, round(width * (view.north - view.south) / (view.east - view.west) / 2)))
    grid = [[" "] * width for _ in range(height)]

    def column(lon: float) -> int:
        return min(width - 1, int((lon - view.west) / (view.east - view.west) * width))

    def row(lat: float) -> int:
        return min(height - 1, int((view.north - lat) / (view.north - view.south) * height))

    lons, lats = view.lines()
    for at in lats:
        grid[row(at)] = ["\u00b7" if not number % 2 else " " for number in range(width)]
    for at in lons:
        for line in grid:
            line[column(at)] = "\u00b7"
    places: dict[tuple[int, int], list[Site]] = {}
    for one in found:
        if one.lat is not None and one.lon is not None:
            places.setdefault((row(one.lat), column(one.lon)), []).append(one)
    legend = []
    for number, (place, several) in enumerate(sorted(places.items(), key=lambda item: (item[0][1], item[0][0]))):
        mark = SYMBOLS[number] if number < len(SYMBOLS) else "*"
        grid[place[0]][place[1]] = mark
        legend.append(f"{mark} {', '.join(_whole(one.name) for one in several)}")
    where = f"{_degrees(view.north, 'N', 'S')} to {_degrees(view.south, 'N', 'S')}, "
    where += f"{_degrees(view.west, 'E', 'W')} to {_degrees(view.east, 'E', 'W')}; lines every {view.step} degrees"
    unknown = [_whole(one.name) for one in found if one.lat is None]
    told = _folded(f"place not known: {', '.join(unknown)}", width) if unknown else []
    return ["".join(line).rstrip() for line in grid] + [*wrap(where, width), *_columns(legend, width), *told]


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.0f}\u00b0{positive if value >= 0 else negative}"


def _whole(name: str) -> str:
    """A name that is not divided between lines."""
    return name.replace(" ", NO_BREAK)


def _folded(text: str, width: int) -> list[str]:
    lines = wrap(text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


def _columns(entries: Sequence[str], width: int) -> list[str]:
    """Entries side by side, as many as fit, reading down."""
    if not entries:
        return []
    entries = [line for entry in entries for line in _folded(entry, width)]
    wide = max(map(len, entries)) + 2
    across = max(1, width // wide)
    down = -(-len(entries) // across)
    return ["".join(one.ljust(wide) for one in entries[number::down]).rstrip() for number in range(down)]


def text_matrix(topology: Topology, found: Sequence[Site], width: int | None) -> list[str]:
    """Round trips in ms where they fit, else a shade a pair and what each shade means. None: any width fits."""
    names = [one.name for one in found]
    label = max(map(len, names))
    cells = {(a.region.name, b.region.name): _cell(topology, a, b) for a in found for b in found}
    for digits in (2, 1, 0):
        told = {pair: _figure(value, digits) for pair, value in cells.items()}
        wide = max(max(map(len, told.values())), len(str(len(found))))
        if width is None or label + len(str(len(found))) + 2 + len(found) * (wide + 1) <= width:
            return _figures(found, told, label, wide)
    return _shades(found, cells, label, width or 80)


def _cell(topology: Topology, a: Site, b: Site) -> float | None:
    """None: no link."""
    if a is b or not topology.linked(a.region.name, b.region.name):
        return None
    return topology.rtt_ms(a.region.name, b.region.name)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _figures(found: Sequence[Site], told: Mapping[tuple[str, str], str], label: int, wide: int) -> list[str]:
    """Columns are the numbers of their rows."""
    number = len(str(len(found)))
    head = " " * (number + 1 + label) + "".join(f" {at:>{wide}}" for at in range(1, len(found) + 1))
    lines = [head]
    for at, a in enumerate(found, start=1):
        row = "".join(f" {told[a.region.name, b.region.name]:>{wide}}" for b in found)
        lines.append(f"{at:>{number}} {a.name:<{label}}{row}")
    return lines


def _shades(
    found: Sequence[Site], cells: Mapping[tuple[str, str], float | None], label: int, width: int
) -> list[str]:  # fmt: skip
    """A character a pair: of the shades, each stands for a ninth of the pairs."""
    values = sorted(value for value in cells.values() if value is not None)
    bounds = [values[min(len(values) - 1, len(values) * (number + 1) // len(SHADES))] for number in range(len(SHADES))]
    number, lines = len(str(len(found))), []
    space = max(10, width - number - label - 3)
    for first in range(0, len(found), space):
        part = found[first : first + space]
        head = " " * (number + label + 2)
        if len(found) > space:
            lines.append(f"{head}columns {first + 1} to {first + len(part)}")
        tens = "".join(
            str((first + at) // 10 % 10) if (first + at) % 10 == 0 else " " for at in range(1, len(part) + 1)
        )
        lines += [head + tens, head + "".join(str((first + at) % 10) for at in range(1, len(part) + 1))]
        for at, a in enumerate(found, start=1):
            row = "".join(_shade(a is b, cells[a.region.name, b.region.name], bounds) for b in part)
            lines.append(f"{at:>{number}} {a.name:<{label}} {row}".rstrip())
    edges = [values[0], *bounds] if values else []
    legend = [f"{SHADES[at]} {edges[at]:.0f} to {edges[at + 1]:.0f}" for at in range(len(edges) - 1)]
    return [*lines, "ms, a ninth of the pairs each:", *_columns(legend, width)]


def _shade(own: bool, value: float | None, bounds: Sequence[float]) -> str:
    if value is None:
        return OWN if own else NONE
    return SHADES[next((at for at, bound in enumerate(bounds) if value <= bound), len(bounds) - 1)]
