"""The `matrix:` of an experiment file: dotted keys with the values to sweep, and their product.

An axis is a list of values or a range `{from: 0, to: 3, count: 100}`, evenly spaced, both ends included. A value may
be a mapping, which sets several things together. Points are numbered with the last axis running fastest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from testbed.files.yamlfile import refuse, said
from testbed.files.yamltext import KeyPath, Lines

KEY = "matrix"
MAX_VALUE = 1e18  # of a range: its differences stay finite, and its integers within 64 bits
MAX_POINTS = 200_000  # beyond this the plan itself takes minutes; more likely a slip
RANGE_KEYS = {"from", "to", "count"}
DIGITS = 12  # significant: 0.1 + 0.2 becomes 0.3, and no figure of an experiment needs more

Axes = Mapping[str, tuple[Any, ...]]  # dotted key to its values
Settings = Mapping[str, Any]  # dotted key to one value


def parse_axes(raw: Any, path: Path, lines: Lines) -> dict[str, tuple[Any, ...]]:
    """Raises BadInput with file and line for what is not a matrix."""
    if not isinstance(raw, dict) or not raw:
        refuse(path, lines, (KEY,), f"{KEY}: maps dotted keys to lists of values, as in `network.rtt_ms: [0, 10, 20]`")
    axes: dict[str, tuple[Any, ...]] = {}
    for key, given in raw.items():
        at: KeyPath = (KEY, key)
        if not isinstance(key, str) or key == KEY or not all(key.split(".")):
            refuse(path, lines, at, f"{KEY}: {key!r} is not a dotted key, as in `policies.wanspec.phi`")
        values = _range(given, path, lines, at) if isinstance(given, dict) else given
        if not isinstance(values, list) or not values:
            refuse(path, lines, at, f"{KEY}.{key}: give a list of values, or {{from: 0, to: 3, count: 100}}")
        seen: set[str] = set()
        for value in values:
            text = json.dumps(value, sort_keys=True, default=str)
            if text in seen:
                refuse(path, lines, at, f"{KEY}.{key}: {said(value)} is given twice")
            seen.add(text)
        axes[key] = tuple(values)
    if count(axes) > MAX_POINTS:
        refuse(path, lines, (KEY,), f"{KEY}: {count(axes)} points exceed the limit of {MAX_POINTS}; sweep fewer values")
    return axes


def count(axes: Axes) -> int:
    """How many points there are."""
    return math.prod(len(values) for values in axes.values())


def points(axes: Axes) -> Iterator[Settings]:
    """Every combination of values, in order; one empty one where nothing is swept."""
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _range(given: dict[Any, Any], path: Path, lines: Lines, at: KeyPath) -> list[float | int]:
    name = ".".join(map(str, at))
    if set(given) != RANGE_KEYS:
        refuse(path, lines, at, f"{name}: a range has exactly the keys from, to and count")
    start, end, number = given["from"], given["to"], given["count"]
    for key, value in (("from", start), ("to", end)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_VALUE:
            refuse(path, lines, (*at, key), f"{name}.{key}: {said(value)} is not a number up to {MAX_VALUE:g}")
    if isinstance(number, bool) or not isinstance(number, int) or not 2 <= number <= MAX_POINTS:
        refuse(
            path, lines, (*at, "count"), f"{name}.count: {said(number)} is not a whole number from 2 to {MAX_POINTS}"
        )
    if start == end:
        refuse(path, lines, at, f"{name}: from and to are equal; give a list with one value")
    whole = isinstance(start, int) and isinstance(end, int) and (end - start) % (number - 1) == 0
    if whole:
        step = (end - start) // (number - 1)
        return [start + step * index for index in range(number)]
    exact = (start + (end - start) * index / (number - 1) for index in range(number))
    return [float(f"{value:.{DIGITS}g}") for value in exact]
