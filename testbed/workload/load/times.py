"""Times of day and of traces as files write them, to nanoseconds: seven decimals, zones, or numbers of some unit.

Rule kept: nothing is rounded on the way in, and a file does not mix times with and without a zone in silence.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from testbed.files.numbers import number

_TIME = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*"
    r"(?:(Z|UTC|GMT)|([+-])(\d{2}):?(\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)
NS = 1_000_000_000
UNITS = {"s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}
# An epoch's seconds have ten digits since 2001 and until 2286; those of smaller units three more each.
_EPOCHS = ((1e18, "ns"), (1e15, "us"), (1e12, "ms"), (1e9, "s"))
LATEST_NS = 2**63 - 1


class Moment:
    """One time of a file: `ns` since the epoch, or since some other beginning."""

    __slots__ = ("ns", "zoned")

    def __init__(self, ns: int, zoned: bool | None) -> None:
        self.ns = ns
        self.zoned = zoned  # whether a zone was written; None: a number, which has none


def moment(text: str, unit: str) -> Moment:
    """A time of day, or a number of `unit`s; a number that can only be an epoch's has the unit that its size says.

    ValueError, with what to write.
    """
    if match := _TIME.fullmatch(text.strip()):
        return _of_day(match)
    try:
        value = number(text)
    except ValueError as error:
        raise ValueError(f"{error}; a time is a number, or as 2023-11-16 18:17:03.9799600") from error
    if value < 0:
        raise ValueError("a time is not negative")
    told = next((name for least, name in _EPOCHS if value >= least), unit)
    ns = _exact(text.strip(), UNITS[told], value)
    if ns > LATEST_NS:
        raise ValueError("it is too large for a time")
    return Moment(ns, None)


def day(ns: int) -> str:
    """A moment since the epoch, as it is written."""
    seconds, rest = divmod(ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}" + (f".{rest:09d}".rstrip("0") if rest else "")


def _exact(text: str, per_unit: int, value: float) -> int:
    """Plain decimals without the error of a double."""
    if match := re.fullmatch(r"\+?(\d+)(?:\.(\d*))?", text):
        whole, decimals = int(match[1]), match[2] or ""
        return whole * per_unit + (round(int(decimals) * per_unit / 10 ** len(decimals)) if decimals else 0)
    return round(value * per_unit)


def _of_day(match: re.Match[str]) -> Moment:
    year, month, date, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction = int((match[7] or "").ljust(9, "0"))
    zone: timezone = UTC
    if match[9]:
        offset = timedelta(hours=int(match[10]), minutes=int(match[11] or 0))
        zone = timezone(offset if match[9] == "+" else -offset)
    moment_of_day = datetime(year, month, date, hour, minute, second, tzinfo=zone)
    seconds = (moment_of_day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return Moment(seconds * NS + fraction, bool(match[8] or match[9]))
