"""The JSON that `irtt client -o FILE` writes: every round trip with its times, in nanoseconds.

`lost` is "false", "true", "true_up" (lost on the way there) or "true_down"; older files have true and false.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.files.reading import decode_json, refuse_file
from testbed.files.yamlfile import said
from testbed.network.imports.found import Options, RoundTrips
from testbed.network.imports.jsonplace import line_of
from testbed.network.spec.fabric import Pair
from testbed.system.units import NS_PER_MS, NS_PER_S


def round_trips(text: str, path: Path, options: Options) -> dict[Pair, RoundTrips]:
    """Of the client and the server. Raises BadInput for a file without single round trips."""
    document = decode_json(text, path)
    if not isinstance(document, dict) or not isinstance(document.get("round_trips"), list):
        refuse_file(path, "has no round_trips; write it with `irtt client -o FILE.json`", 1)
    config: dict[str, Any] = document["config"] if isinstance(document.get("config"), dict) else {}
    src = options.src or _host(config.get("local_address") or config.get("local_addr")) or "client"
    dst = options.dst or _host(config.get("remote_address") or config.get("host") or config.get("supplied_address"))
    dst = dst or "server"
    interval_s = (
        _number(_within(config, "params", "interval")) or _number(config.get("interval")) or NS_PER_S
    ) / NS_PER_S
    pair = RoundTrips(line=line_of(text, ("round_trips",)), timed=True)
    for index, one in enumerate(document["round_trips"]):
        if not isinstance(one, dict):
            refuse_file(path, f"a round trip is {said(one)}", line_of(text, ("round_trips", index)))
        lost = str(one.get("lost", "false")).casefold()
        rtt = _number(_within(one, "delay", "rtt"))
        sent = _number(_within(one, "timestamps", "client", "send", "monotonic"))
        sent = _number(_within(one, "timestamps", "client", "send", "wall")) if sent is None else sent
        number = _number(one.get("seqno"))
        at = sent / NS_PER_S if sent is not None else (index if number is None else number) * interval_s
        if lost == "false" and (rtt is None or rtt < 0):
            problem = f"round trip {index} is not lost and its delay.rtt is {said(rtt)}; write nanoseconds"
            refuse_file(path, problem, line_of(text, ("round_trips", index)))
        came = lost in ("false", "unknown") and rtt is not None
        pair.samples.append((at, rtt / NS_PER_MS if came and rtt is not None else None))
    pair.samples.sort(key=lambda sample: sample[0])
    if not pair.samples:
        refuse_file(path, "round_trips is empty", pair.line)
    return {(options.named(src), options.named(dst)): pair}


def _within(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _host(address: Any) -> str | None:
    """An address without its port."""
    if not isinstance(address, str) or not address:
        return None
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.rpartition(":")
    return host if host and port.isdigit() and ":" not in host else address
