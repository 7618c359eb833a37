"""RIPE Atlas ping results: a JSON list, an object with `results`, or one result after another, of any firmware.

Rules kept: a packet that timed out, or ended in an error, is a loss; duplicates and late replies count once; where a
result has no single packets (old firmware), its average and its counts serve. A probe that is also a target is one
site, known by its address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from testbed.files.reading import decode_json, refuse_file
from testbed.files.yamlfile import said
from testbed.network.imports.found import Options, RoundTrips
from testbed.network.imports.jsonplace import line_of, objects
from testbed.network.spec.fabric import Pair

MOST_PACKETS = 100_000  # of one result


class Result(NamedTuple):
    line: int
    value: Mapping[str, Any]


def results(text: str, path: Path) -> list[Result]:
    """Each with its line."""
    stripped = text.lstrip()
    several = several_of(text)
    if stripped.startswith("[") or (stripped.startswith("{") and not several):
        document = decode_json(text, path)
        where: tuple[str | int, ...] = ()
        if isinstance(document, dict):
            where = ("results",) if isinstance(document.get("results"), list) else ()
            document = document["results"] if where else [document]
        lines = _lines(text, where, len(document))
        return [Result(line, _mapping(one, path, line)) for line, one in zip(lines, document, strict=True)]
    return [Result(line, _mapping(decode_json(part, path, line=line), path, line)) for line, part in several]


def several_of(text: str) -> list[tuple[int, str]]:
    """Results with their lines, where a text has more than one: one a line, or one after another; else none."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for _, line in lines):
        return lines
    found = objects(text) if text.lstrip().startswith("{") else []
    return found if len(found) > 1 else []


def _lines(text: str, where: tuple[str | int, ...], count: int) -> Iterator[int]:
    if text.count("\n") < 2 or count > 1_000:  # one line, or too many to look for
        return iter([1] * count)
    return iter([line_of(text, (*where, index)) for index in range(count)])


def _mapping(value: Any, path: Path, line: int) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        refuse_file(path, f"{said(value)} is not a measurement result; keep the objects with prb_id and result", line)
    return value


def round_trips(text: str, path: Path, options: Options) -> dict[Pair, RoundTrips]:
    """Of each probe and target. Raises BadInput for a result that is no ping."""
    found = results(text, path)
    sites = _sites(found, options)
    trips: dict[Pair, RoundTrips] = {}
    for line, one in sorted(found, key=lambda result: _number(result.value.get("timestamp")) or 0.0):
        kind = one.get("type", "ping")
        if kind != "ping":
            refuse_file(path, f"is the result of a {said(kind)} measurement; export one of type ping", line)
        if "prb_id" not in one:
            refuse_file(path, "has no prb_id, so the probe is unknown; export results of RIPE Atlas whole", line)
        target = one.get("dst_name") or one.get("dst_addr") or one.get("addr") or one.get("name")
        if target is None:
            refuse_file(path, "has neither dst_name nor dst_addr; export results of RIPE Atlas whole", line)
        a, b = sites(_probe(one)), sites(str(one.get("dst_addr") or target), str(target))
        if a == b:
            continue
        pair = trips.setdefault((a, b), RoundTrips(line=line, timed="timestamp" in one))
        _add(pair, one, path, line)
    if not trips:
        refuse_file(path, "holds no ping between two sites", 1)
    return trips


def _add(pair: RoundTrips, one: Mapping[str, Any], path: Path, line: int) -> None:
    start = _number(one.get("timestamp")) or 0.0
    step = (_number(one.get("step")) or 0.0) / 1000 or 1.0
    packets = one.get("result")
    if not isinstance(packets, list) or not packets:
        average = _number(one.get("avg"))
        sent, received = _number(one.get("sent")) or 0, _number(one.get("rcvd"))
        if average is None and received is None:
            refuse_file(path, "has neither result nor avg; export results of RIPE Atlas whole", line)
        if max(sent, received or 0) > MOST_PACKETS:
            refuse_file(path, f"says of more than {MOST_PACKETS} packets in one result; is that right?", line)
        replied = 0 if average is None or average < 0 else int(received if received is not None else 1)
        pair.samples += [(start + number * step, average) for number in range(replied)]
        pair.samples += [(start + number * step, None) for number in range(replied, max(int(sent), replied, 1))]
        return
    number = 0
    for packet in packets:
        if not isinstance(packet, dict):
            refuse_file(path, f"a packet is {said(packet)}; {{rtt: ...}} or {{x: '*'}} is expected", line)
        if "dup" in packet or ("late" in packet and "rtt" not in packet):
            continue
        rtt = _number(packet.get("rtt"))
        if rtt is None and not {"x", "error", "srcaddr", "rtt"} & packet.keys():
            refuse_file(path, f"a packet is {said(packet)}; {{rtt: ...}} or {{x: '*'}} is expected", line)
        pair.samples.append((start + number * step, None if rtt is None or rtt < 0 or "error" in packet else rtt))
        number += 1


def _probe(one: Mapping[str, Any]) -> str:
    return f"probe-{one['prb_id']}"


def _sites(found: list[Result], options: Options) -> Any:
    """What a probe or a target is called: one name where a probe's address is a target."""
    by_address: dict[str, str] = {}
    for _, one in found:
        for key in ("from", "src_addr", "srcaddr"):
            if isinstance(one.get(key), str) and one[key] and "prb_id" in one:
                by_address.setdefault(one[key], _probe(one))

    def called(name: str, shown: str | None = None) -> str:
        probe = by_address.get(name)
        for one in (shown, name, probe):
            if one is not None and one in options.rename:
                return options.rename[one]
        return probe or shown or name

    return called


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
