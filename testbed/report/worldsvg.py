"""Regions on a map and their round-trip times in a matrix, as one SVG without anything beside it.

Regions are numbers on the map, in the list and on the matrix; numbers that would cover each other are moved apart, with
a line to where they belong. Every cell says its figure when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from testbed.network.spec.topology import Topology
from testbed.report.worldmap import Site, Window, sites, window

WIDTH, MARGIN, DOT = 1000, 24, 8.0
MATRIX = 760  # at most
LIST_ROW = 15
LETTER = 6.4  # width of a character of the list, or less
SCALE = ((255, 247, 222), (253, 200, 122), (240, 118, 74), (178, 42, 72), (74, 16, 74))  # short to long
INK, FAINT, PALE = "#222", "#d5d9de", "#8a929b"
Places = Sequence[tuple[float, float]]
FIGURES_FROM = 21  # pixels: smaller cells have no figure


def drawing(topology: Topology) -> str:
    """The whole SVG."""
    found = sites(topology)
    parts: list[str] = [_text(MARGIN, 30, topology.name, size=20, weight="bold")]
    top = 44.0
    for line in _wrapped(topology.description, 150):
        top += 14
        parts.append(_text(MARGIN, top, line, size=12))
    top += 16
    view = window(found)
    if view is not None:
        drawn, top = _map(found, view, top)
        parts += drawn
    drawn, top = _list(found, top)
    parts += drawn
    drawn, top = _matrix(topology, found, top)
    parts += drawn
    source = topology.source
    kind = f", {source.kind.replace('_', ' ')}" if source.kind else ""
    told = f"{topology.measured_on}{kind}; {source.citation} ({source.licence})"
    mixed = [] if topology.mixed_kinds is None else _wrapped(f"Figures of several kinds: {topology.mixed_kinds}", 165)
    for line in [*_wrapped(told, 165), *mixed]:
        top += 14
        parts.append(_text(MARGIN, top, line, size=10))
    height = top + 16
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif">')  # fmt: skip
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>', *parts, "</svg>"]) + "\n"


def _map(found: Sequence[Site], view: Window, top: float) -> tuple[list[str], float]:
    wide = WIDTH - 2 * MARGIN
    high = min(520.0, wide * (view.north - view.south) / (view.east - view.west))

    def place(lat: float, lon: float) -> tuple[float, float]:
        x = MARGIN + (lon - view.west) / (view.east - view.west) * wide
        return x, top + (view.north - lat) / (view.north - view.south) * high

    parts = [f'<rect x="{MARGIN}" y="{top:.1f}" width="{wide}" height="{high:.1f}" fill="#f5f8fb" stroke="{FAINT}"/>']
    lons, lats = view.lines()
    for lon in lons:
        x, _ = place(0, lon)
        parts.append(f'<path d="M{x:.1f} {top:.1f}V{top + high:.1f}" stroke="{FAINT}"/>')
        if MARGIN + 30 < x < WIDTH - MARGIN - 30:
            parts.append(
                _text(x + 2, top + high - 4, f"{abs(lon)}\u00b0{'E' if lon >= 0 else 'W'}", size=9, colour="#8a929b")
            )
    for lat in lats:
        _, y = place(lat, 0)
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{MARGIN + wide}" stroke="{FAINT}"/>')
        if top + 14 < y < top + high - 14:
            parts.append(
                _text(MARGIN + 3, y - 2, f"{abs(lat)}\u00b0{'N' if lat >= 0 else 'S'}", size=9, colour="#8a929b")
            )
    known = [(at, one, place(one.lat, one.lon)) for at, one in enumerate(found, start=1)
             if one.lat is not None and one.lon is not None]  # fmt: skip
    bounds = (MARGIN + DOT, WIDTH - MARGIN - DOT, top + DOT, top + high - DOT)
    moved = apart([where for _, _, where in known], bounds)
    for (_, _, (x, y)), (mx, my) in zip(known, moved, strict=True):
        if abs(mx - x) + abs(my - y) > 1:
            parts.append(f'<path d="M{x:.1f} {y:.1f}L{mx:.1f} {my:.1f}" stroke="#7c8794" stroke-width="0.8"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="#7c8794"/>')
    for (at, one, _), (mx, my) in zip(known, moved, strict=True):
        title = f"<title>{escape(one.name)}</title>"
        parts.append(f'<g><circle cx="{mx:.1f}" cy="{my:.1f}" r="{DOT}" fill="{_provider(one)}"/>{title}')
        parts.append(f"{_text(mx, my + 3.2, str(at), size=9, colour='white', anchor='middle')}</g>")
    return parts, top + high + 20


def apart(
    places: Sequence[tuple[float, float]], bounds: tuple[float, float, float, float]
) -> list[tuple[float, float]]:
    """Places moved until no two circles cover each other, or nearly so; the same for the same places."""
    # no two begin at one point, else nothing says which way they part
    now = [(x + 0.01 * number, y + 0.007 * (number % 7)) for number, (x, y) in enumerate(places)]
    least = 2 * DOT + 1
    for _ in range(300):
        still = True
        for a in range(len(now)):
            for b in range(a + 1, len(now)):
                dx, dy = now[b][0] - now[a][0], now[b][1] - now[a][1]
                far = max((dx * dx + dy * dy) ** 0.5, 1e-6)
                if far < least:
                    push = (least - far) / 2 / far
                    now[a] = _inside(now[a][0] - dx * push, now[a][1] - dy * push, bounds)
                    now[b] = _inside(now[b][0] + dx * push, now[b][1] + dy * push, bounds)
                    still = False
        if still:
            break
    return now


def _inside(x: float, y: float, bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    left, right, top, bottom = bounds
    return min(max(x, left), right), min(max(y, top), bottom)


def _provider(one: Site) -> str:
    """A colour for each cloud, and one for all others."""
    own = {"aws": "#c8641e", "azure": "#1667b7", "gcp": "#2c8a4b"}
    return own.get(one.region.provider, "#5b6470")


def _noted(one: Site) -> str:
    """What the file notes of a region, where it is more than its name in other letters."""
    note = one.region.note
    return f" \u00b7 {note}" if note and "".join(note.casefold().split()) != one.region.name.casefold() else ""


def _list(found: Sequence[Site], top: float) -> tuple[list[str], float]:
    told = [f"{at}  {one.name}{_noted(one)}" for at, one in enumerate(found, start=1)]
    column = max(map(len, told)) * LETTER + 12
    across = max(1, int((WIDTH - 2 * MARGIN) / column))
    down = -(-len(found) // across)
    parts = []
    for at, (one, text) in enumerate(zip(found, told, strict=True)):
        x, y = MARGIN + at // down * column, top + at % down * LIST_ROW
        parts.append(_text(x, y, text, size=11, colour=_provider(one)))
    return parts, top + down * LIST_ROW + 18


def _matrix(topology: Topology, found: Sequence[Site], top: float) -> tuple[list[str], float]:
    size = min(34.0, MATRIX / len(found))
    left = MARGIN + 26.0
    names = [one.region.name for one in found]
    pairs = [(a, b) for a in names for b in names if a != b and topology.linked(a, b)]
    figures = {(a, b): topology.rtt_ms(a, b) for a, b in pairs}
    most = max(figures.values(), default=1.0)
    parts = [_text(MARGIN, top, "Round-trip time in ms; rows from, columns to", size=12, weight="bold")]
    top += 24
    small = min(10.0, max(5.0, size * 0.55))
    for at, a in enumerate(found):
        y = top + at * size
        parts.append(_text(left - 4, y + size * 0.7, str(at + 1), size=small, anchor="end"))
        parts.append(_text(left + (at + 0.5) * size, top - 4, str(at + 1), size=small, anchor="middle"))
        for other, b in enumerate(found):
            value = figures.get((a.region.name, b.region.name))
            x = left + other * size
            if value is None:
                continue
            title = f"<title>{escape(a.region.name)} \u2192 {escape(b.region.name)}: {value:g} ms</title>"
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{size:.1f}" '
                         f'fill="{_colour(value / most)}">{title}</rect>')  # fmt: skip
            if size >= FIGURES_FROM:
                dark = value / most > 0.5
                told = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
                colour = "white" if dark else INK
                parts.append(_text(x + size / 2, y + size * 0.62, told, min(11.0, size * 0.36), colour, "middle"))
    beside = left + size * len(found) + 26
    if beside + 60 > WIDTH:
        beside = WIDTH - 70
    for number in range(60):
        parts.append(f'<rect x="{beside:.1f}" y="{top + number * 3:.1f}" width="14" height="3.2" '
                     f'fill="{_colour(1 - number / 59)}"/>')  # fmt: skip
    parts += [_text(beside + 19, top + 9, f"{most:.0f} ms", size=10), _text(beside + 19, top + 180, "0", size=10)]
    return parts, top + max(size * len(found), 190) + 16


def _colour(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    low = min(int(place), len(SCALE) - 2)
    rest = place - low
    return "#" + "".join(f"{round(a + (b - a) * rest):02x}" for a, b in zip(SCALE[low], SCALE[low + 1], strict=True))


def _text(
    x: float, y: float, text: str, size: float = 11, colour: str = INK, anchor: str = "start", weight: str = "normal"
) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(text)}</text>')  # fmt: skip


def _wrapped(text: str, characters: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, characters)
