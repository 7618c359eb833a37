"""How numbers are written in users' files, and what to write instead of something that only looks like one.

One rule for YAML, CSV and overrides (docs/input-files.md): ASCII digits, a point for decimals, no unit, no sign of a
thousand, finite. Anything else is refused, with the number it most likely means.
"""

from __future__ import annotations

import math
import re
import unicodedata

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/µ][A-Za-z/]*)")
_PERCENT = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*%")
_THOUSANDS = re.compile(r"([+-]?[0-9]{1,3})((?:[,.' _\u2019][0-9]{3})+)(\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"([+-]?[0-9]+),([0-9]+)")
MOST_DIGITS = 40  # of a number, however exact


def number(text: str) -> float:
    """A finite number. ValueError, with what to write, for anything else."""
    stripped = text.strip(" \t")
    if len(stripped) <= MOST_DIGITS and _NUMBER.fullmatch(stripped):
        value = float(stripped)
        vanished = value == 0 and re.search("[1-9]", re.split("[eE]", stripped)[0]) is not None
        if math.isfinite(value) and not vanished:
            return value
    raise ValueError(advice(text) or "write a number")


def advice(value: object, share: bool = False) -> str | None:
    """What to write instead of `value`, where that can be told; `share`: of a number from 0 to 1."""
    if isinstance(value, bool):
        return f"{str(value).lower()} is not a number; write one"
    if isinstance(value, (int, float)):
        return f"write a share, {_short(value / 100)}" if share and 1 < value <= 100 else None
    if not isinstance(value, str):
        return None
    text = unicodedata.normalize("NFKC", value.replace("\u2212", "-")).strip(" \t\n\"'")
    if len(text) > MOST_DIGITS:
        return None
    if match := _PERCENT.fullmatch(text):
        return f"write a share, {_short(float(match[1]) / 100)}" if share else f"write the number alone: {match[1]}"
    if match := _QUANTITY.fullmatch(text):
        return f"write the number alone, in the unit the key names: {match[1]}"
    if _NUMBER.fullmatch(text):
        how = "without quotes" if value.isascii() else "in the digits 0 to 9"
        return f"write it {how}: {text}"
    if match := _DECIMAL_COMMA.fullmatch(text):
        point = f"{match[1]}.{match[2]}"
        if _THOUSANDS.fullmatch(text):
            return f"write {match[1]}{match[2]}, or {point} if the comma is a decimal comma"
        return f"write {point}, with a decimal point"
    if match := _THOUSANDS.fullmatch(text):
        return f"write {match[1]}{re.sub('[^0-9]', '', match[2])}{match[3] or ''}, without thousands separators"
    return None


def _short(value: float) -> str:
    return f"{value:.12g}"
