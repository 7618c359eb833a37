"""Rows of a trace, whatever wrote them: which column is which, and numbers and times as they must be.

Rule kept: a row is read whole or refused with its line and what to write; what is left out, or put in another order, is
counted and said. Column names are known by their letters and digits alone, so case, blanks and order do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from testbed.files.numbers import number
from testbed.files.reading import refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import nearest, said
from testbed.workload.load.asked import Asked, begun
from testbed.workload.load.times import NS, Moment, day, moment

MOST_TOKENS = 10_000_000  # of one request

TIME = (
    "timestamp", "arrival_s", "arrival_ms", "arrival_us", "arrival_ns", "arrival_time", "arrival_time_s",
    "arrival_time_ms", "arrival_timestamp", "arrived_at", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns",
    "time_s", "time_ms", "time",
)  # fmt: skip
INPUT = (
    "ContextTokens", "Request tokens", "input_tokens", "input_length", "input_len", "prompt_tokens", "prompt_len",
    "prompt_length", "prompt_size", "num_prefill_tokens",
)  # fmt: skip
OUTPUT = (
    "GeneratedTokens", "Response tokens", "output_tokens", "output_length", "output_len", "completion_tokens",
    "token_size", "num_decode_tokens",
)  # fmt: skip
SESSION = ("Session ID", "session", "conversation_id")
KNOWN = ("known_tokens",)
ROLES = {"time": TIME, "input": INPUT, "output": OUTPUT, "session": SESSION, "known": KNOWN}
NEEDED = {"time": "when requests came", "input": "their input tokens", "output": "their output tokens"}


def plain(name: str) -> str:
    """A column's name without what people write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_ROLE_OF = {plain(name): role for role, names in ROLES.items() for name in names}


def columns(names: Sequence[str], path: Path, line: int) -> dict[str, str]:
    """Role to the column that has it. BadInput where one is missing, or two have one role."""
    found: dict[str, str] = {}
    for name in names:
        role = _ROLE_OF.get(plain(name))
        if role is None:
            continue
        if role in found:
            refuse_file(path, f"columns {said(found[role])} and {said(name)} both are {role}; remove one", line)
        found[role] = name
    for role, what in NEEDED.items():
        if role not in found:
            known = ROLES[role]
            taken = found.values()
            hints = (nearest(name, known) for name in names if name not in taken)
            close = next((hint for hint in hints if "did you" in hint), "")
            refuse_file(
                path, f"no column says {what}: {', '.join(known[:4])}, ... are known{close}; its columns are "
                f"{', '.join(said(name) for name in names[:8])}", line,
            )  # fmt: skip
    return found


def looks_like(content: str) -> bool:
    """Whether text that is not YAML begins as a trace does: with a header, or an object, that has what is needed."""
    begins = content.lstrip().lstrip("[").lstrip()
    if begins.startswith("{"):
        names = re.findall(r'"([^"\n]{1,40})"\s*:', begins[:4000])
    else:
        header = next((line for line in begins.splitlines() if line.strip() and not line.startswith("#")), "")
        names = re.split(r"[,;\t]", header[:1000])
    return NEEDED.keys() <= {_ROLE_OF.get(plain(name)) for name in names}


def unit_of(column: str, otherwise: str) -> str:
    """What a time column's name says, `otherwise` where it says nothing."""
    match = re.search(r"_(s|ms|us|ns)$", column.strip().lower())
    return match[1] if match else otherwise


@dataclass
class Reader:
    """Takes rows in, in the file's order. `unit`: of times that are plain numbers."""

    path: Path
    unit: str
    _found: list[tuple[int, Asked]] = field(default_factory=list)
    _zoned: bool | None = None
    _numbers: bool = False
    _first_line: int = 0
    _empty: int = 0
    _backwards: int = 0
    _rows: int = 0
    _texts: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # of rows that others may begin like
    _sessions: dict[str, int] = field(default_factory=dict)  # the last row of each

    def take(
        self, line: int, row: Mapping[str, Any], known_tokens: int = 0, like: int | None = None, number: int = 0
    ) -> None:
        """One row by role. Raises BadInput.

        `like`: number of an earlier row whose input begins with the known tokens; `number`: this row's own.
        """
        self._rows += 1
        at = self._moment(line, row.get("time"))
        lengths = [self._tokens(line, row.get(role), what) for role, what in (("input", "input"), ("output", "output"))]
        if not all(lengths):
            self._empty += 1
            return
        session = str(row.get("session") or "").strip() or None
        known = self._tokens(line, row["known"], "known") if row.get("known") not in (None, "") else known_tokens
        if self._found and at.ns < self._found[-1][0]:
            self._backwards += 1
        known = min(known, lengths[0])
        text = self._text(number, lengths[0], session, known, like)
        self._found.append((at.ns, Asked(0.0, lengths[0], lengths[1], session, known, text)))

    def requests(self) -> tuple[tuple[Asked, ...], str | None, dict[str, str]]:
        """All of them, earliest first, when the first came if that is known, and what there is to say."""
        if not self._found:
            some = f": none of its {self._rows} rows has input and output tokens" if self._rows else ""
            refuse_file(self.path, f"holds no requests{some}")
        about = {}
        if self._empty:
            about["left_out"] = f"{self._empty} of {self._rows} rows, which have no input or no output tokens"
        if self._backwards:
            about["sorted"] = f"{self._backwards} rows were earlier than the one before; sorted by time"
            self._found.sort(key=lambda one: one[0])
        first_ns = self._found[0][0]
        asked = tuple(one._replace(at_s=(ns - first_ns) / NS) for ns, one in self._found)
        return asked, day(first_ns) if not self._numbers or first_ns >= NS * 10**9 else None, about

    def _text(
        self, number: int, tokens: int, session: str | None, known: int, like: int | None
    ) -> tuple[tuple[int, int], ...]:
        """Where hashes say so, with the known tokens of that row; else a session's turn with the input before it."""
        if session is None and like is None:
            return ()
        before: tuple[tuple[int, int], ...] = ()
        if like is not None:
            before = begun(self._texts.get(like, ()), known)
        elif session in self._sessions:
            before = begun(self._texts[self._sessions[session]], tokens)
        own = tokens - sum(length for _, length in before)
        self._texts[number] = text = (*before, (number, own)) if own else before
        if session is not None:
            self._sessions[session] = number
        return text

    def _moment(self, line: int, value: Any) -> Moment:
        if value is None or value == "" or isinstance(value, bool):
            self._refuse(line, "has no time; write one, or remove the row")
        try:
            at = moment(str(value), self.unit)
        except ValueError as error:
            self._refuse(line, f"time {said(value)}: {error}")
        if self._first_line == 0:
            self._first_line, self._zoned, self._numbers = line, at.zoned, at.zoned is None
        elif at.zoned != self._zoned:
            self._refuse(
                line, f"time {said(value)} is not written like that of line {self._first_line}: write all as numbers, "
                "all with a zone or all without",
            )  # fmt: skip
        return at

    def _tokens(self, line: int, value: Any, what: str) -> int:
        if value is None or value == "" or isinstance(value, (bool, dict, list)):
            self._refuse(line, f"has no number of {what} tokens; write one, 0 for a request that failed")
        try:
            count = number(str(value))
        except ValueError as error:
            self._refuse(line, f"{what} tokens {said(value)}: {error}")
        if not 0 <= count <= MOST_TOKENS or count != int(count):
            self._refuse(line, f"{what} tokens {said(value)}: write a whole number from 0 to {MOST_TOKENS}")
        return int(count)

    def _refuse(self, line: int, problem: str) -> NoReturn:
        refuse_file(self.path, problem, line)


def take_all(reader: Reader, rows: Iterable[tuple[int, Mapping[str, Any], int, int | None]], path: Path) -> None:
    """Every row with its line, its known tokens, and the number of the row that it has them from.

    Raises BadInput with all that is wrong, up to what fits a screen.
    """
    refusals = Refusals(path)
    for place, (line, row, known, like) in enumerate(rows):
        with refusals.one():
            reader.take(line, row, known, like, place)
        if len(refusals) > 20:
            break
    refusals.settle()
