"""Figures as people and programs write them in tables: units, decimal commas, and the many ways to say "none".

Rule kept: what could mean two numbers is refused, with the option that says which.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

from testbed.files.yamlfile import said

MS = {
    "ns": 1e-6, "us": 1e-3, "usec": 1e-3, "μs": 1e-3, "microseconds": 1e-3, "ms": 1.0, "msec": 1.0, "msecs": 1.0,
    "millis": 1.0, "milliseconds": 1.0, "millisecond": 1.0, "мс": 1.0, "毫秒": 1.0, "s": 1e3, "sec": 1e3, "secs": 1e3,
    "second": 1e3, "seconds": 1e3, "min": 6e4,
}  # fmt: skip
NONE = {
    "", "-", "--", "---", ".", "*", "x", "?", "/", "n/a", "n.a.", "na", "#n/a", "#n/d", "nan", "null", "none", "nil",
    "inf", "infinity", "\\n", "no data", "timeout", "time out", "timed out", "unreachable", "lost", "failed", "error",
    "#div/0!", "#value!", "#ref!", "not available", "unknown", "tbd", "self", "\\",
}  # fmt: skip
MAX_MS = 60_000.0
DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212), "-")

_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"([+-]?[0-9]*),([0-9]+)")
_POINT_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:[.' ][0-9]{3})+,[0-9]+")
_COMMA_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:[,' ][0-9]{3})+(?:\.[0-9]+)?")
_SPLIT = re.compile(r"(.*?[0-9.,])\s*([^0-9.,\s]+)")


def tidy(text: str) -> str:
    """One cell without what only looks: kinds of blanks and dashes, markup of emphasis, quotes."""
    text = unicodedata.normalize("NFKC", text).translate(DASHES)
    return text.strip(" \t\"'`*_") if text.strip(" \t") not in ("*",) else "*"


def is_none(text: str) -> bool:
    """Whether a cell says that there is no figure."""
    return tidy(text).casefold() in NONE


def looks_numeric(text: str) -> bool:
    """Whether a cell could be a figure, in whatever style."""
    number, _ = unit_of(tidy(text))
    return bool(_PLAIN.fullmatch(number) or _COMMA.fullmatch(number) or _POINT_THOUSANDS.fullmatch(number)
                or _COMMA_THOUSANDS.fullmatch(number))  # fmt: skip


def unit_of(text: str) -> tuple[str, str | None]:
    """A figure and its unit, None where it has none."""
    match = _SPLIT.fullmatch(text.lstrip("~≈<>= "))
    if match is not None and match[2].casefold() in MS:
        return match[1], match[2].casefold()
    return text.lstrip("~≈= "), None


def decimal_style(cells: Iterable[str], delimiter: str, told: str | None) -> str:
    """ "comma", "point", or "unclear" where commas may be either."""
    if told is not None:
        return told
    numbers = [unit_of(tidy(cell))[0] for cell in cells]
    commas = [one for one in numbers if "," in one and looks_numeric(one)]
    if not commas:
        return "point"
    if any(_POINT_THOUSANDS.fullmatch(one) for one in commas):
        return "comma"
    if any(re.fullmatch(r".*,[0-9]{3}\.[0-9]+", one) for one in commas):
        return "point"
    if delimiter == ";" or any((match := _COMMA.fullmatch(one)) and len(match[2]) != 3 for one in commas):
        return "comma"
    if any((match := _COMMA.fullmatch(one)) and (match[1].lstrip("+-") in ("", "0") or len(match[1]) > 3)
           for one in commas):  # fmt: skip
        return "comma"
    return "point" if delimiter == "," and any("." in one for one in numbers) else "unclear"


def figure(text: str, style: str, scale: float) -> float | None:
    """Milliseconds; None for a cell that says that there is none. ValueError, with the fix, for anything else.

    `scale`: milliseconds in the unit of figures without one.
    """
    cell = tidy(text)
    if cell.casefold() in NONE:
        return None
    number, unit = unit_of(cell)
    if "," in number or _POINT_THOUSANDS.fullmatch(number):
        if style == "unclear":
            raise ValueError("the comma may be a decimal comma or separate thousands; say --decimal comma or point")
        if style == "comma":
            number = re.sub(r"[.' ]", "", number).replace(",", ".")
        elif _COMMA_THOUSANDS.fullmatch(number):
            number = re.sub(r"[,' ]", "", number)
    elif style == "point" and _COMMA_THOUSANDS.fullmatch(number):
        number = re.sub(r"[' ]", "", number)
    if not _PLAIN.fullmatch(number):
        raise ValueError("write a number of milliseconds, or nothing where there is none")
    value = float(number) * (scale if unit is None else MS[unit])
    if not math.isfinite(value) or value > MAX_MS:
        raise ValueError(f"a round trip takes 0 to {MAX_MS:g} ms; is the unit right? --unit us, ms or s")
    if value < 0:
        raise ValueError("a round trip is not negative; leave the cell empty where there is no figure")
    return float(f"{value:.9g}")


def scale_of(unit: str) -> float:
    """Milliseconds in a unit. ValueError for one that is unknown."""
    if unit.casefold() not in MS:
        raise ValueError(f"unit {said(unit)} is unknown; write us, ms or s")
    return MS[unit.casefold()]
