"""A custom Mininet `Topo` as a topology: its hosts become sites, its links collapse to one figure per directed link.

Programs only see what lies between two ends, so every pair gets the sum of delays, the product of what is not lost and
the narrowest rate along the path of least delay (fewest hops, then names, where delays are equal). Options mean what
they mean on Mininet's TCLink: each is about what leaves one end of a link, `params1` and `params2` are for one end, and
what is given for the whole link goes before them.

Rule kept: an option that cannot be expressed end to end is refused in one line, never ignored. What the collapse does
lose is said in the topology's description: pairs that share a narrow link do not compete for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from testbed.errors import BadInput, MachineCannot
from testbed.files.foreign import foreign
from testbed.files.pyfile import PythonFile
from testbed.files.reading import one_line, shown

NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}  # as tc(8) reads times; a bare number is microseconds
UNITS = {"nsec": "ns", "nsecs": "ns", "usec": "us", "usecs": "us", "msec": "ms", "msecs": "ms", "sec": "s", "secs": "s"}
MAX_MBIT = 1000  # TCIntf.bwParamMax: above, Mininet prints an error and sets no rate at all
INTRA_SITE_RTT_MS = 1.0  # our choice, as in topologies/: two nodes at one host
UNDATED = date(1970, 1, 1)  # nobody measured it; the file's own date would change with every checkout

IN_MININET_ONLY = {"node1", "node2", "port1", "port2", "intfName1", "intfName2", "addr1", "addr2", "fast"}  # not seen
RATE_KINDS = {"use_htb", "use_tbf", "use_hfsc"}  # three ways to keep the same rate
SHAPING = {"bw", "delay", "jitter", "loss"}


@dataclass(frozen=True)
class Wire:
    """One direction of one link."""

    src: str
    dst: str
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0  # share of packets
    rate_bps: int | None = None


@dataclass(frozen=True)
class EndToEnd:
    """What lies between two hosts, one way."""

    delay_ns: int
    jitter_ns: int
    loss: float
    rate_bps: int | None
    via: tuple[str, ...]  # every node of the path, both hosts included


def collapse(hosts: Sequence[str], wires: Iterable[Wire]) -> dict[tuple[str, str], EndToEnd]:
    """All directed pairs of hosts. Hosts forward nothing. Raises BadInput for a pair without a path."""
    leaving: dict[str, list[Wire]] = {}
    for wire in wires:
        leaving.setdefault(wire.src, []).append(wire)
    found = {}
    for src in hosts:
        paths = _shortest(src, frozenset(hosts), leaving)
        for dst in hosts:
            if dst == src:
                continue
            if dst not in paths:
                raise BadInput(f"no path from {src} to {dst}; {_why_no_path(src, dst, hosts, leaving)}")
            found[src, dst] = _along(src, paths[dst])
    return found


def _why_no_path(src: str, dst: str, hosts: Sequence[str], leaving: Mapping[str, list[Wire]]) -> str:
    """What to do: link them, or make a switch of the host that stands between them."""
    through = _shortest(src, frozenset(), leaving).get(dst)
    if through is None:
        return "link them"
    between = next(wire.dst for wire in through if wire.dst in hosts)
    return f"hosts do not forward, and {between} is a host: make it a switch with addSwitch"


def _shortest(src: str, hosts: frozenset[str], leaving: Mapping[str, list[Wire]]) -> dict[str, tuple[Wire, ...]]:
    """Dijkstra's paths from one host, by delay, then hops, then names."""
    done: dict[str, tuple[Wire, ...]] = {}
    waiting: list[tuple[int, int, tuple[str, ...], int, tuple[Wire, ...]]] = [(0, 0, (src,), 0, ())]
    serial = 0  # parallel links tie in everything else: the first one given is taken
    while waiting:
        delay_ns, hops, names, _, path = heappop(waiting)
        at = names[-1]
        if at in done:
            continue
        done[at] = path
        if at in hosts and at != src:
            continue
        for wire in leaving.get(at, ()):
            serial += 1
            onward = (*names, wire.dst)
            heappush(waiting, (delay_ns + wire.delay_ns, hops + 1, onward, serial, (*path, wire)))
    return done


def _along(src: str, path: Sequence[Wire]) -> EndToEnd:
    names = (src, *(wire.dst for wire in path))
    jittered = [wire for wire in path if wire.jitter_ns]
    if len(jittered) > 1:
        ends = ", ".join(f"{wire.src} -> {wire.dst}" for wire in jittered)
        raise BadInput(
            f"{names[0]} -> {names[-1]}: jitter on {ends}; the sum of two jitters cannot be expressed, keep one"
        )
    losses = [wire.loss for wire in path if wire.loss]
    rates = [wire.rate_bps for wire in path if wire.rate_bps is not None]
    return EndToEnd(
        delay_ns=sum(wire.delay_ns for wire in path),
        jitter_ns=sum(wire.jitter_ns for wire in path),
        # one alone is taken as it was given, without the rounding of the product
        loss=sum(losses) if len(losses) < 2 else 1 - math.prod(1 - loss for loss in losses),
        rate_bps=min(rates, default=None),
        via=names,
    )


def wires_of(topo: Any) -> list[Wire]:
    """Both directions of every link of a `mininet.topo.Topo`. Raises BadInput for what cannot be expressed."""
    wires = []
    for node1, node2, info in topo.iterLinks(withInfo=True):
        where = f"link {node1} - {node2}"
        options = {key: value for key, value in info.items() if key not in IN_MININET_ONLY}
        link_class = options.pop("cls", None)
        class_name = getattr(link_class, "__name__", one_line(repr(link_class)))
        if link_class is not None and class_name not in ("TCLink", "TCULink"):
            raise BadInput(f"{where}: cls {class_name} does not shape links; remove cls, or use TCLink")
        ends = [options.pop("params1", None), options.pop("params2", None)]
        for (src, dst), own in zip(((node1, node2), (node2, node1)), ends, strict=True):
            if own is not None and not isinstance(own, Mapping):
                raise BadInput(f"{where}: params1 and params2 are mappings, as in params1={{'delay': '5ms'}}")
            wires.append(_wire(src, dst, {**(own or {}), **options}, where))
    return wires


def _wire(src: str, dst: str, options: Mapping[str, Any], where: str) -> Wire:
    given = {key: value for key, value in options.items() if value is not None and key not in RATE_KINDS}
    if unknown := sorted(given.keys() - SHAPING):
        known = ", ".join(sorted(SHAPING))
        raise BadInput(f"{where}: {unknown[0]} cannot be expressed for an end-to-end link; remove it (known: {known})")
    rate_bps, loss = None, 0.0
    if "bw" in given:
        mbit = _number(given["bw"], f"{where}: bw", "Mbit/s", 0.008, MAX_MBIT)
        rate_bps = round(mbit * 1e6)
    if "loss" in given:
        loss = _number(given["loss"], f"{where}: loss", "percent", 0, 100) / 100
    delay_ns = tc_time_ns(given.get("delay", 0), f"{where}: delay")
    return Wire(src, dst, delay_ns, tc_time_ns(given.get("jitter", 0), f"{where}: jitter"), loss, rate_bps)


def tc_time_ns(value: object, what: str) -> int:
    """A time as tc(8) reads it: `20ms`, `1.5s`, `300us`; a bare number is microseconds."""
    text = str(value).lower() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"\s*([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})\s*([a-z]*)\s*", text)
    unit = UNITS.get(match[2], match[2] or "us") if match else ""
    if match is None or unit not in NS:
        raise BadInput(f"{what}: {one_line(repr(value))} is not a time; write it as tc does, such as '20ms'")
    return round(float(match[1]) * NS[unit])


def _number(value: object, what: str, unit: str, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise BadInput(f"{what}: {one_line(repr(value))} is not a number of {unit} from {least:g} to {most:g}")
    return float(value)


def as_topology(topo: Any, name: str, source: str, sha256: str) -> dict[str, Any]:
    """The fields of a topology file that says the same."""
    hosts = [str(host) for host in topo.hosts()]
    if not hosts:
        raise BadInput("no hosts; add some with addHost")
    pairs = collapse(hosts, wires_of(topo))

    def matrix(values: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
        return {a: {b: values[a, b] for b in hosts if (a, b) in values} for a in hosts}

    return {
        "name": name,
        "description": "end-to-end links of a Mininet Topo; pairs that share a bottleneck do not compete for it",
        "source": {"citation": f"{source}, sha256 {sha256}", "licence": "that of the file", "statistic": "by design"},
        "measured_on": UNDATED,
        "regions": [{"name": host, "provider": "mininet"} for host in hosts],
        # half of a figure is the one-way delay of its own direction
        "rtt_ms": matrix({pair: 2 * one.delay_ns / NS["ms"] for pair, one in pairs.items()}),
        "intra_site_rtt_ms": INTRA_SITE_RTT_MS,
        "jitter_ms": matrix({pair: one.jitter_ns / NS["ms"] for pair, one in pairs.items() if one.jitter_ns}),
        "loss": matrix({pair: one.loss for pair, one in pairs.items() if one.loss}),
        "rate_bps": matrix({pair: one.rate_bps for pair, one in pairs.items() if one.rate_bps is not None}),
    }


def load_fields(path: Path, class_name: str) -> dict[str, Any]:
    """Runs the file and makes the class, without arguments. Raises BadInput in one line, naming file and class."""
    where = f"topology {shown(path)}:{class_name}"
    try:
        from mininet.topo import Topo
    except ImportError as error:
        raise MachineCannot(f"{where}: Mininet cannot be imported ({one_line(error)}); see testbed doctor") from error
    file = PythonFile.read(path)
    module = file.module()
    make = _maker(vars(module), class_name, Topo, where)
    with foreign(path, f"making {class_name} without arguments"):
        topo = make()
    if not isinstance(topo, Topo):
        raise BadInput(f"{where}: gives {one_line(repr(topo))}, which is not a mininet.topo.Topo")
    with foreign(path, f"reading what {class_name} holds"):
        try:
            return as_topology(topo, class_name, str(path), file.sha256)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from error


def _maker(names: Mapping[str, Any], wanted: str, kind: type, where: str) -> Callable[[], Any]:
    """The class of this name, or an entry of the file's `topos`, as `mn --custom` has them."""
    found = names.get(wanted)
    if isinstance(found, type) and issubclass(found, kind):
        return found
    topos = names.get("topos")
    entries: dict[Any, Any] = topos if isinstance(topos, dict) else {}
    if callable(entries.get(wanted)):
        return entries[wanted]  # type: ignore[no-any-return]
    classes = [
        name for name, one in names.items() if isinstance(one, type) and issubclass(one, kind) and one is not kind
    ]
    known = [*classes, *(str(name) for name in entries)]
    there = f"it has {', '.join(map(shown, known))}" if known else "define a subclass of mininet.topo.Topo"
    raise BadInput(f"{where}: no Topo class or entry of `topos` has this name; {there}")
