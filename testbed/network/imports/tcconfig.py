"""What `tcshow` of tcconfig prints, and what `tcset --import-setting` reads: rules by device, direction and filter.

Rule kept: a rule becomes the two links between this machine and the one its filter names; what the testbed's links
cannot do is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from testbed.files.reading import decode_json, refuse_file
from testbed.files.yamlfile import said
from testbed.network.imports.cells import MS
from testbed.network.imports.found import Found, Options
from testbed.network.imports.jsonplace import Key, line_of
from testbed.network.spec.fabric import Pair

DIRECTIONS = ("outgoing", "incoming")
NO_EFFECT = {"filter_id", "limit", "delay-distribution", "overhead", "burst", "cburst", "ceil"}
CANNOT = {"corrupt": "corrupted packets", "corruption": "corrupted packets", "duplicate": "duplicate packets"}
BITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
HOURS_MS = {"h": 3.6e6, "hour": 3.6e6, "hours": 3.6e6, "m": 6e4, "min": 6e4, "mins": 6e4, "minute": 6e4, "minutes": 6e4}


def looks(document: Any) -> bool:
    return isinstance(document, dict) and any(
        isinstance(one, dict) and set(DIRECTIONS) & one.keys() for one in document.values()
    )


def found_in(text: str, path: Path, options: Options) -> Found:
    """The two links of one rule. Raises BadInput for what is no rule, or where there are several."""
    document = decode_json(text, path)
    if not looks(document):
        refuse_file(path, "has no device with outgoing or incoming rules; write it with `tcshow DEVICE > FILE`", 1)
    rules: dict[str, dict[str, tuple[tuple[Key, ...], Mapping[str, Any]]]] = {}
    for device, directions in document.items():
        for direction in DIRECTIONS:
            of = directions.get(direction) if isinstance(directions, dict) else None
            for name, rule in (of or {}).items():
                place: tuple[Key, ...] = (device, direction, name)
                if not isinstance(rule, dict):
                    refuse_file(path, f"{said(name)} is {said(rule)}; a mapping of delay, loss, rate, ... is expected",
                                line_of(text, place))  # fmt: skip
                rules.setdefault(_peer(name), {})[direction] = (place, rule)
    if not rules:
        refuse_file(path, "has no rule: both directions are empty", 1)
    src, rtt = options.src or "here", dict[Pair, float]()
    loss, jitter, reorder, rate = dict[Pair, float](), dict[Pair, float](), dict[Pair, float](), dict[Pair, int]()
    for peer, ways in rules.items():
        dst = options.dst if options.dst and len(rules) == 1 else peer
        out, back = (options.named(src), options.named(dst)), (options.named(dst), options.named(src))
        delays = []
        for direction, way in zip(DIRECTIONS, (out, back), strict=True):
            told = _Rule(text, path, *ways.get(direction, ((), {})))
            told.refuse_others()
            delays.append(told.ms("delay") or 0.0)
            for matrix, value in (
                (loss, told.share("loss")),
                (jitter, told.ms("delay-distro")),
                (reorder, told.share("reorder", "reordering")),
            ):
                if value:
                    matrix[way] = value
            if bits := told.bits("rate"):
                rate[way] = bits
        rtt[out], rtt[back] = 2 * delays[0], 2 * delays[1]
    notes = (
        "a one-way delay counts twice as the round trip measured in its direction",
        *(
            ("delay-distro is the deviation of a normal law there, and half the width of a uniform one here",)
            if jitter
            else ()
        ),
    )
    return Found(rtt, "synthetic", "as set with tcconfig", loss, jitter, reorder, rate, notes=notes)


def _peer(name: str) -> str:
    """The machine that a filter is about: its address, where it has one."""
    match = re.search(r"(?:dst-network|src-network|network)=([^\s,]+)", name)
    peer = match[1] if match else ""
    return "there" if peer in ("", "0.0.0.0/0", "::/0") else peer.removesuffix("/32").removesuffix("/128")


class _Rule:
    def __init__(self, text: str, path: Path, place: tuple[Key, ...], rule: Mapping[str, Any]) -> None:
        self._text, self._path, self._place, self._rule = text, path, place, rule

    def refuse_others(self) -> None:
        known = {"delay", "delay-distro", "loss", "reorder", "reordering", "rate", *NO_EFFECT}
        for key in self._rule:
            if key in CANNOT and self._percent(key):
                self._refuse(key, f"the testbed's links have no {CANNOT[key]}; remove it")
            if key not in known and key not in CANNOT:
                self._refuse(key, "is no setting that is known here; remove it")

    def ms(self, key: str) -> float | None:
        value = self._rule.get(key)
        if value is None or isinstance(value, (int, float)):
            return None if value is None else float(value)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµμ]*)", str(value).strip())
        unit = "" if match is None else match[2].casefold()
        scale = 1.0 if not unit else HOURS_MS.get(unit, MS.get(unit))
        if match is None or scale is None:
            self._refuse(key, "write a time such as 10ms")
        return float(match[1]) * scale

    def share(self, *keys: str) -> float | None:
        return next((self._percent(key) for key in keys if key in self._rule), None)

    def _percent(self, key: str) -> float:
        value = self._rule[key]
        try:
            share = float(str(value).strip().removesuffix("%")) / 100
        except ValueError:
            self._refuse(key, "write a percentage such as 0.1%")
        if not 0 <= share < 1:
            self._refuse(key, "write a percentage of 0 to less than 100")
        return float(f"{share:.9g}")

    def bits(self, key: str) -> int | None:
        value = self._rule.get(key)
        if value is None:
            return None
        match = re.fullmatch(
            r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)(?:bit/s|bits/s|bit|bps)?", str(value).strip().casefold()
        )
        if match is None or match[2] not in BITS:
            self._refuse(key, "write a rate such as 10Mbps")
        if not math.isfinite(rate := float(match[1]) * BITS[match[2]]):
            self._refuse(key, "write a rate such as 10Mbps")
        return round(rate)

    def _refuse(self, key: str, problem: str) -> NoReturn:
        line = line_of(self._text, (*self._place, key))
        refuse_file(self._path, f"{key} is {said(self._rule[key])}; {problem}", line)
