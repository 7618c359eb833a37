"""Output of ping: iputils, BusyBox, macOS and the BSDs, Windows in any language, fping's summaries; several in a file.

Rules kept: a request that timed out, was answered by an error or is missing from the numbers is a loss; a duplicate
counts once; `time<1ms` counts as half of that, and a note says so. Languages are not known: what a line is follows
from its numbers (TTL, milliseconds, a percentage).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from testbed.files.numbers import number
from testbed.files.reading import refuse_file
from testbed.files.yamlfile import said
from testbed.network.imports.cells import MS
from testbed.network.imports.found import Options, RoundTrips
from testbed.network.spec.fabric import Pair

_ADDRESS = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%\w+)?)"
_HEADERS = tuple(
    re.compile(one)
    for one in (
        r"(?:^|[$#>]\s*|\]\s*)PING6?\([^)]*\)\s+\S+\s+-->\s+(?P<name>\S+)",
        r"(?:^|[$#>]\s*|\]\s*)PING6?:?\s+(?P<name>[^\s(:]\S*?)[:,]?(?:\s|$)",
        rf"(?P<name>\S+)\s*\[(?P<address>{_ADDRESS})\](?!.*[tT][tT][lL])",
        r"^\W*Pinging\s+(?P<name>\S+)\s+with",
        rf"^(?!.*[=<]).*?(?P<name>{_ADDRESS})(?=\D).*\b[0-9]+\b.*[::]\s*$",
    )
)  # fmt: skip
_V6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.%]*:?\s")
_FPING_REPLY = re.compile(r"^(\S+)\s*:\s*\[([0-9]+)\],\s*(?:[0-9]+ bytes,\s*([0-9.]+)\s*ms|time)")
_TIME = re.compile(
    r"[=<≤]\s*([0-9]+(?:[.,][0-9]+)?)\s*(ms|msec|мс|毫秒|ミリ秒|us|µs|μs|sec|s)(?![A-Za-z])", re.IGNORECASE
)
_SEQ = re.compile(r"\b(?:icmp_seq|icmp_req|seq)\s*[=:]?\s*([0-9]+)")
_TTL = re.compile(r"\b(?:ttl|hlim|hoplimit)\b\s*=?", re.IGNORECASE)
_STAMP = re.compile(r"^\[?([0-9]{9,11}(?:\.[0-9]+)?)\]?\s")
_ISO = re.compile(r"^\[?([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(?:Z|[+-][0-9:]+)?)\]?\s")
_COUNTS = re.compile(r"^\s*([0-9]+)\s[^0-9/]*?\s?([0-9]+)\s[^/]*?[0-9.,]+\s*%")
_WINDOWS_COUNTS = re.compile(r"=\s*([0-9]+)\s*[,、,;]\D*=\s*([0-9]+)\s*[,、,;]\D*=\s*([0-9]+)(?!\s*[a-zA-Zм毫])")
_SUMMARY = re.compile(r"=\s*([0-9.,]+)/([0-9.,]+)/([0-9.,]+)(?:/[0-9.,]+)?\s*(ms|us|µs|s|мс)?")
_WINDOWS_SUMMARY = re.compile(
    r"=\s*([0-9.,]+)\s*(?:ms|мс|毫秒|ミリ秒)\D*=\s*([0-9.,]+)\s*(?:ms|мс|毫秒|ミリ秒)\D*=\s*([0-9.,]+)\s*(?:ms|мс|毫秒|ミリ秒)",
    re.I,
)
_FPING = re.compile(
    r"^(\S+)\s*:\s*xmt/rcv/%loss\s*=\s*([0-9]+)/([0-9]+)/[0-9.]+%(?:,\s*min/avg/max\s*=\s*[0-9.]+/([0-9.]+)/[0-9.]+)?"
)
_LOST = re.compile(r"timeout|timed out|no answer|unreachable|exceeded|filtered|prohibit", re.IGNORECASE)
_FROM = re.compile(r"(?:from|von|de|da|desde|van)\s+([^\s:(]+(?::[0-9a-fA-F:]+)?)(?:\s*\(([^)]+)\))?:", re.IGNORECASE)
_FILE = re.compile(r"(.+?)(?:_to_|-to-|\.to\.| to |__|--|->|→)(.+)")
MOST_DIGITS = 12  # of a count of packets
NUMBERS = 65_536  # then requests are counted from 0 again
SHORT_SHARE = 0.5  # of the bound, for a reply that was faster than the clock


@dataclass
class _Block:
    """One ping to one host."""

    name: str
    line: int
    windows: bool = False
    replies: dict[int, tuple[float | None, float]] = field(default_factory=dict)  # by number: when, how long
    lost: set[int] = field(default_factory=set)
    last: int | None = None  # the highest number of both
    sent: int | None = None
    received: int | None = None
    mean_ms: float | None = None
    ended: bool = False  # its summary has begun
    short: int = 0

    def reply(self, number: int, when: float | None, ms: float) -> None:
        """Of several with one number the first."""
        self.replies.setdefault(number, (when, ms))
        self.lost.discard(number)
        self._saw(number)

    def loss(self, number: int) -> None:
        """None of a request that was answered."""
        if number not in self.replies:
            self.lost.add(number)
            self._saw(number)

    def _saw(self, number: int) -> None:
        self.last = number if self.last is None else max(self.last, number)


class _NoNumber(ValueError):
    """Digits that are none."""


def _ms(text: str) -> float:
    try:
        return number(text.replace(",", "."))
    except ValueError as error:
        raise _NoNumber(f"{said(text)}: {error}") from error


def _count(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise _NoNumber(f"{said(digits)} is no count of packets")
    return int(digits)


def round_trips(text: str, path: Path, options: Options) -> tuple[dict[Pair, RoundTrips], tuple[str, ...]]:
    """Of each host that was pinged, and notes. Raises BadInput without a ping, or where the pinging side is unnamed."""
    blocks = list(_blocks(text, path))
    if not blocks:
        refuse_file(path, "holds no output of ping: no reply with a time, and no summary", 1)
    named = _FILE.fullmatch(path.stem)
    src = options.src or (named[1].strip() if named else None)
    if src is None:
        refuse_file(path, "ping does not say where it ran; say --from REGION, or call the file FROM_to_TO.txt", 1)
    trips: dict[Pair, RoundTrips] = {}
    for block in blocks:
        dst = options.dst or options.rename.get(block.name)
        dst = dst or (named[2].strip() if named and options.src is None and len(blocks) == 1 else block.name)
        if not dst:
            refuse_file(path, "does not say what was pinged; say --to REGION", block.line)
        pair = trips.setdefault((options.named(src), options.named(dst)), RoundTrips(line=block.line))
        _add(pair, block, options.interval_s or 1.0)
    if (wrong := next((pair for pair in trips if pair[0] == pair[1]), None)) is not None:
        refuse_file(path, f"{wrong[0]} pings itself; name both sides with --from and --to", trips[wrong].line)
    short = sum(block.short for block in blocks)
    return trips, ((f"{short} replies faster than 1 ms count as {SHORT_SHARE:g} ms",) if short else ())


def looks(text: str) -> bool:
    """Whether this is output of ping."""
    head = "\n".join(text.splitlines()[:400])
    if _FPING.search(head) or _FPING_REPLY.search(head) or re.search(r"^\s*PING6?[ (:]", head, re.MULTILINE):
        return True
    return any(_is_reply(line) for line in head.splitlines()) or bool(
        re.search(r"min/avg/max", head) or (_WINDOWS_COUNTS.search(head) and "%" in head)
    )


def _blocks(text: str, path: Path) -> Iterator[_Block]:
    found = _Blocks()
    for number_, line in enumerate(text.splitlines(), start=1):
        try:
            found.take(line, number_)
        except _NoNumber as error:
            refuse_file(path, str(error), number_)
    return found.all()


class _Blocks:
    """Takes lines, and says what pings they are of."""

    def __init__(self) -> None:
        self._done: list[_Block] = []
        self._block: _Block | None = None
        self._by_host: dict[str, _Block] = {}
        self._host = ""

    def all(self) -> Iterator[_Block]:
        yield from self._done
        if self._block is not None:
            yield self._block
        yield from self._by_host.values()

    def take(self, line: str, at: int) -> None:
        """Raises _NoNumber."""
        if (one := _FPING.match(line)) is not None:
            mean = None if one[4] is None else _ms(one[4])
            self._done.append(_Block(one[1], at, sent=_count(one[2]), received=_count(one[3]), mean_ms=mean))
        elif (reply := _FPING_REPLY.match(line)) is not None:
            host = self._by_host.setdefault(reply[1], _Block(reply[1], at))
            if reply[3] is None:
                host.loss(_count(reply[2]))
            else:
                host.reply(_count(reply[2]), None, _ms(reply[3]))
        elif (name := _header(line)) is not None and not self._sums_up(line):
            if self._block is not None:
                self._done.append(self._block)
            self._block = _Block(name, at, windows=not re.search(r"PING6?[ (:]", line))
        elif _is_reply(line):
            if self._block is None:
                self._block = _Block(_answering(line), at)
            _reply(self._block, line)
        elif self._block is not None:
            _other(self._block, line)
        elif any(one.search(line) for one in (_SUMMARY, _COUNTS, _WINDOWS_COUNTS, _WINDOWS_SUMMARY)):
            self._block = _Block(self._host, at)
            _other(self._block, line)
        elif (address := re.search(_ADDRESS, line)) is not None:
            self._host = address[0]
        elif (statistics := re.match(r"-+\s*(\S+)\s.*-+\s*$", line)) is not None:
            self._block = _Block(statistics[1], at)

    def _sums_up(self, line: str) -> bool:
        """Whether this line, which names a host, begins the summary of the same ping."""
        return self._block is not None and self._block.ended and self._block.name in line


def _header(line: str) -> str | None:
    if _is_reply(line):
        return None
    for one in _HEADERS:
        if (match := one.search(line)) is not None:
            return match["name"].strip("'\"«»")
    return None


def _is_reply(line: str) -> bool:
    time = _TIME.search(line)
    if time is None:
        return False
    # Windows says no TTL of IPv6
    return bool(_TTL.search(line) or _SEQ.search(line) or " bytes from " in line or _V6.search(line, 0, time.start()))


def _answering(line: str) -> str:
    match = _FROM.search(line)
    return match[1] if match else ""


def _reply(block: _Block, line: str) -> None:
    match = _TIME.search(line)
    assert match is not None
    value = _ms(match[1]) * MS.get(match[2].casefold(), 1.0)
    if "<" in match[0] or "≤" in match[0]:
        value *= SHORT_SHARE
        block.short += 1
    block.reply(_number(block, line), _seconds(line), value)


def _number(block: _Block, line: str) -> int:
    """Of this request, counted on where 16 bits are used up."""
    told, last = _SEQ.search(line), block.last
    if told is None:
        return 0 if last is None else last + 1
    own = _count(told[1])
    if last is None:
        return own
    return own + NUMBERS * max(0, -(-(last - NUMBERS // 2 - own) // NUMBERS))


def _seconds(line: str) -> float | None:
    if (stamp := _STAMP.match(line)) is not None:
        return float(stamp[1])
    if (iso := _ISO.match(line)) is not None:
        try:
            return datetime.fromisoformat(iso[1].replace(",", ".")).timestamp()
        except (ValueError, OverflowError):  # of the years 1 and 9999
            return None
    return None


def _other(block: _Block, line: str) -> None:
    """A loss, a count, a mean, or nothing."""
    if (mean := _SUMMARY.search(line)) is not None:
        block.mean_ms = _ms(mean[2]) * MS.get((mean[4] or "ms").casefold(), 1.0)
    elif (mean := _WINDOWS_SUMMARY.search(line)) is not None:
        block.mean_ms = _ms(mean[3])
    elif (counts := _WINDOWS_COUNTS.search(line)) is not None or (counts := _COUNTS.match(line)) is not None:
        block.sent, block.received, block.ended = _count(counts[1]), _count(counts[2]), True
    elif line.startswith("---") or (block.windows and not line.strip() and (block.replies or block.lost)):
        block.ended = True
    elif not block.ended and ((_SEQ.search(line) and _LOST.search(line)) or (block.windows and line.strip())):
        block.loss(_number(block, line))


def _add(pair: RoundTrips, block: _Block, interval_s: float) -> None:
    """Adds the requests of one ping, in order."""
    numbers = {*block.replies, *block.lost}
    if numbers:
        first, last = min(numbers), max(numbers)
        if last - first < 1_000_000:
            numbers |= set(range(first, last + 1))
        start = next(((when - (place - first) * interval_s) for place, (when, _) in sorted(block.replies.items())
                      if when is not None), None)  # fmt: skip
        offset = (pair.samples[-1][0] + interval_s if pair.samples else 0.0) if start is None else start
        for place in sorted(numbers):
            when, value = block.replies.get(place, (None, None))
            at = offset + (place - first) * interval_s if when is None else when
            pair.samples.append((at, value))
        pair.timed = start is not None
        pair.samples.sort(key=_when)
    if block.sent is not None and block.sent > len(numbers):
        received = len(block.replies) if numbers else block.received
        pair.sent, pair.received = (pair.sent or 0) + block.sent, (pair.received or 0) + (received or 0)
    if not block.replies and block.mean_ms is not None:
        pair.mean_ms = block.mean_ms


def _when(sample: tuple[float, Any]) -> float:
    return sample[0]
