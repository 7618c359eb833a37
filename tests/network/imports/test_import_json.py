"""JSON of cloudping, RIPE Atlas, irtt and tcconfig: the shapes and traps of each, and what refusals say."""

# ruff: noqa: E501  # lines are as other programs write them

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.files.reading import read_others_text
from testbed.network.imports import atlas, irtt
from testbed.network.imports.formats import OF_TOPOLOGIES, OF_TRACES, format_of
from testbed.network.imports.found import Found, Options
from testbed.network.imports.jsonplace import line_of


def read(tmp_path: Path, document: Any, told: str | None = None, **options: Any) -> tuple[str, Found]:
    path = tmp_path / "measured.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
    text, _ = read_others_text(path)
    found, _ = format_of(text, path, OF_TOPOLOGIES, told)
    assert found.figures is not None
    return found.name, found.figures(text, path, Options(**options))


BOTH = {("a", "b"): 12.5, ("b", "a"): 13.0}
CLOUDPING = {
    "today": {"metadata": {"percentile": "p_50"}, "data": {"a": {"a": 3.1, "b": 12.5}, "b": {"a": 13.0, "b": 2}}},
    "plain": {"a": {"b": 12.5}, "b": {"a": 13}},
    "text": {"a": {"b": "12.5"}, "b": {"a": "13.0 ms"}},
    "before": [
        {"region": "a", "averages": [{"regionTo": "a", "average": 3}, {"regionTo": "b", "average": 12.5}]},
        {"region": "b", "averages": [{"regionTo": "a", "average": "13"}]},
    ],
    "pairs": [{"from": "a", "to": "b", "latency": 12.5}, {"from": "b", "to": "a", "latency": 13}],
    "pairs within": {"data": [{"source_region": "a", "destination_region": "b", "p50": 12.5, "p99": 40},
                              {"source_region": "b", "destination_region": "a", "p50": 13, "p99": 41}]},
    "microseconds": [{"src": "a", "dst": "b", "rtt_us": 12500}, {"src": "b", "dst": "a", "rtt_us": 13000}],
    "unit said once": {"unit": "us", "data": {"a": {"b": 12500}, "b": {"a": 13000}}},
    "statistics": {"a": {"b": {"min": 1, "avg": 12.5, "max": 99}}, "b": {"a": {"min": 1, "avg": 13, "max": 99}}},
    "lists": {"a": [{"region": "b", "latency_ms": 12.5}], "b": [{"region": "a", "latency_ms": 13}]},
    "sources": {"regions": [{"name": "a", "latencies": {"b": 12.5}}, {"name": "b", "latencies": {"a": 13}}]},
    "a matrix": {"regions": ["a", "b"], "matrix": [[0, 12.5], [13, None]]},
    "rows of a matrix": [{"region": "a", "a": 0, "b": 12.5}, {"region": "b", "a": 13, "b": 0}],
    "lists of three": {"latencies": [["a", "b", 12.5], ["b", "a", 13]]},
    "AWS's own": {"DataResponses": [
        {"Id": "1", "Source": "a", "Destination": "b", "Metric": "aggregate-latency", "Statistic": "p50",
         "MetricPoints": [{"Value": 12.4}, {"Value": 12.6}]},
        {"Id": "2", "Source": "b", "Destination": "a", "MetricPoints": [{"Value": 13}]}]},
    "an answer": {"statusCode": 200, "body": json.dumps({"a": {"b": 12.5}, "b": {"a": 13}})},
    "no figure": {"a": {"b": 12.5, "c": None}, "b": {"a": 13, "c": "n/a"}},
}  # fmt: skip


@pytest.mark.parametrize("name", CLOUDPING)
def test_latencies_of_clouds_are_read(tmp_path: Path, name: str) -> None:
    format_name, found = read(tmp_path, CLOUDPING[name])
    assert (format_name, dict(found.rtt_ms), found.kind) == ("cloudping", BOTH, "tcp_connect")


@pytest.mark.parametrize(
    ("document", "line", "says"),
    [
        ({"a": {"b": "fast"}, "b": {"a": 1}}, 3, "a -> b is 'fast'; write a number of milliseconds"),
        ({"a": {"b": 5}, "b": {"a": -1}}, 6, "b -> a is -1; a round trip is not negative"),
        (
            {"a": {"b": 5}, "b": {"a": 0}},
            6,
            "b -> a is 0 ms; if that means that there is no figure, say --zeros missing",
        ),
        ({"a": {"b": True}}, 3, "a -> b is true; a number of milliseconds is expected"),
        ({"a": {"b": {"loss": 3}}}, 3, "a -> b has none of p50, avg, latency"),
        ([1, 2], 1, "none of the known shapes of latencies is in this JSON"),
        ({"a": {"a": 3}}, 1, "holds no figure of two regions"),
        ({"regions": ["a", "b"], "matrix": [[0, 1]]}, None, "1 rows of figures for 2 names"),
        ('{"a": {"b": 12,}}', 1, "is not JSON"),
        ([{"from": "a", "to": "b", "ms": 3}, {"from": "a", "to": "b", "ms": 4}], 10, "a -> b is there twice"),
    ],
)
def test_other_json_is_refused_with_line_and_fix(tmp_path: Path, document: Any, line: int | None, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, document)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/measured.json" + (f":{line}: " if line else ""))


def test_the_line_of_a_place_is_found() -> None:
    text = '{\n "a": [1,\n  {"b": {"c":\n 2}}],\n "x": "}",\n "b": 3}'
    assert [line_of(text, place) for place in (("a",), ("a", 1, "b", "c"), ("b",), ("a", 7))] == [2, 4, 6, 2]


def ping(probe: int, target: str, packets: Any, **more: Any) -> dict[str, Any]:
    return {"fw": 5020, "type": "ping", "prb_id": probe, "dst_name": target, "timestamp": 1_700_000_000, "step": 240_000,
            "result": packets, **more}  # fmt: skip


PACKETS = [{"rtt": 10.0}, {"rtt": 12.0}, {"rtt": 14.0}]
ATLAS: dict[str, Any] = {
    "a list": [ping(7, "t", PACKETS)],
    "an object": {"count": 1, "results": [ping(7, "t", PACKETS)]},
    "one result": ping(7, "t", PACKETS),
    "one after another": "".join(json.dumps(one, indent=2) + "\n" for one in (ping(7, "t", PACKETS), ping(7, "t", [{"rtt": 12.0}]))),
    "one a line": "\n".join(json.dumps(one) for one in (ping(7, "t", PACKETS), ping(7, "t", [{"rtt": 12.0}]))) + "\n",
    "duplicates and late ones": [ping(7, "t", [*PACKETS, {"rtt": 99.0, "dup": 1}, {"late": 2}])],
    "firmware as text, address alone": [{"fw": "4790", "type": "ping", "prb_id": 7, "dst_addr": "t", "result": PACKETS}],
    "old firmware, counts alone": [{"fw": 4460, "type": "ping", "prb_id": 7, "dst_name": "t", "avg": 12.0, "sent": 3,
                                    "rcvd": 3, "timestamp": 1_400_000_000}],
    "no type": [{"prb_id": 7, "dst_name": "t", "result": PACKETS}],
    "packets with more": [ping(7, "t", [{"rtt": 12.0, "ttl": 55, "srcaddr": "10.0.0.1"}])],
}  # fmt: skip


@pytest.mark.parametrize("name", ATLAS)
def test_atlas_results_are_read(tmp_path: Path, name: str) -> None:
    format_name, found = read(tmp_path, ATLAS[name])
    assert (format_name, dict(found.rtt_ms), dict(found.loss)) == ("atlas", {("probe-7", "t"): 12.0}, {})


@pytest.mark.parametrize(
    ("packets", "lost"),
    [
        ([{"rtt": 12.0}, {"x": "*"}], 0.5),
        ([{"rtt": 12.0}, {"x": "*"}, {"x": "*"}, {"error": "connect failed"}], 0.75),
        ([{"rtt": 12.0}, {"error": "Network unreachable"}], 0.5),
    ],
)
def test_time_outs_and_errors_of_atlas_are_losses(tmp_path: Path, packets: Any, lost: float) -> None:
    _, found = read(tmp_path, [ping(7, "t", packets)])
    assert 1 - (1 - found.loss["probe-7", "t"]) ** 2 == pytest.approx(lost)


def test_old_atlas_results_without_a_reply_are_losses(tmp_path: Path) -> None:
    old = {"type": "ping", "prb_id": 7, "dst_name": "t", "sent": 3, "timestamp": 1}
    results = [{**old, "avg": 12.0, "rcvd": 3}, {**old, "avg": -1, "rcvd": 0}]
    _, found = read(tmp_path, results)
    assert found.rtt_ms == {("probe-7", "t"): 12.0}
    assert 1 - (1 - found.loss["probe-7", "t"]) ** 2 == pytest.approx(0.5)


def test_a_probe_that_is_also_a_target_is_one_site(tmp_path: Path) -> None:
    mesh = [
        {**ping(1, "two.example", PACKETS), "from": "192.0.2.1", "dst_addr": "192.0.2.2"},
        {**ping(2, "one.example", PACKETS), "from": "192.0.2.2", "dst_addr": "192.0.2.1"},
    ]
    _, found = read(tmp_path, mesh, rename={"probe-1": "one"})
    assert found.rtt_ms == {("one", "probe-2"): 12.0, ("probe-2", "one"): 12.0}


@pytest.mark.parametrize(
    ("results", "line", "says"),
    [
        ([ping(7, "t", [{"x": "*"}])], 2, "probe-7 -> t: no reply, so there is no figure; remove this measurement"),
        (
            [ping(7, "t", PACKETS), {**ping(7, "t", PACKETS), "type": "traceroute"}],
            None,
            "is the result of a 'traceroute'",
        ),
        ([{"prb_id": 7, "result": PACKETS}], 2, "has neither dst_name nor dst_addr"),
        ([{"prb_id": 7, "dst_name": "t"}], 2, "has neither result nor avg"),
        ([ping(7, "t", [{"y": 1}])], 2, "a packet is"),
        ([ping(7, "t", [], avg=5.0, sent=10**12, rcvd=3)], 2, "says of more than 100000 packets in one result"),
        ([ping(7, "t", [], avg=5.0, sent=3, rcvd=1e300)], 2, "says of more than 100000 packets in one result"),
        ([ping(7, "t", PACKETS), 5], None, "5 is not a measurement result"),
        ("{bad\n}\n", 1, "is not JSON"),
    ],
)
def test_other_results_are_refused(tmp_path: Path, results: Any, line: int | None, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, results)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/measured.json:" + (f"{line}: " if line else ""))


def trip(number: int, rtt_ms: float | None, lost: Any = "false") -> dict[str, Any]:
    send = {"wall": 1_700_000_000_000_000_000 + number * 10**9, "monotonic": 5_000 + number * 10**9}
    delay = {} if rtt_ms is None else {"rtt": round(rtt_ms * 1e6), "send": 1, "receive": 1}
    return {"seqno": number, "lost": lost, "timestamps": {"client": {"send": send}}, "delay": delay}


def test_irtt_is_read_packed_or_not(tmp_path: Path) -> None:
    trips = [trip(0, 10), trip(1, None, "true_down"), trip(2, 12), trip(3, None, "true"), trip(4, 14.5)]
    document = {
        "config": {"remote_address": "[2001:db8::1]:2112", "local_address": "192.0.2.9:4000"},
        "round_trips": trips,
    }
    text = json.dumps(document)
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(text.encode()))
    text, how = read_others_text(tmp_path / "t.json.gz")
    assert how == "gzip"
    assert format_of(text, tmp_path / "t", OF_TRACES, None)[0].name == "irtt"
    found = irtt.round_trips(text, tmp_path / "t", Options())
    ((pair, one),) = found.items()
    assert pair == ("192.0.2.9", "2001:db8::1")
    assert ([value for _, value in one.samples], one.loss) == ([10.0, None, 12.0, None, 14.5], 0.4)
    assert one.samples[2][0] - one.samples[0][0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"round_trips": [], "stats": {}}, "round_trips is empty"),
        ({"round_trips": [{"seqno": 0, "lost": "false"}]}, "round trip 0 is not lost and its delay.rtt is null"),
        ({"stats": {}}, "has no round_trips; write it with `irtt client -o FILE.json`"),
    ],
)
def test_other_irtt_is_refused(tmp_path: Path, document: Any, says: str) -> None:
    with pytest.raises(BadInput, match=r"measured\.json:[0-9]+: ") as caught:
        read(tmp_path, document, "irtt")
    assert says in str(caught.value)


RULE = "dst-network=192.168.0.10/32, protocol=ip"
TCSHOW = {"eth0": {"outgoing": {RULE: {"filter_id": "800::800", "delay": "10.0ms", "delay-distro": "2.0ms", "loss": "0.01%",
                                       "rate": "250Kbps"}},
                   "incoming": {RULE: {"delay": "5ms", "reordering": "2%", "rate": "1.5Mbps"}}}}  # fmt: skip


def test_tcconfig_becomes_two_links(tmp_path: Path) -> None:
    name, found = read(tmp_path, TCSHOW, src="phone", dst="server")
    out, back = ("phone", "server"), ("server", "phone")
    assert (name, dict(found.rtt_ms)) == ("tcconfig", {out: 20.0, back: 10.0})
    assert (found.loss, found.jitter_ms, found.reorder) == ({out: 0.0001}, {out: 2.0}, {back: 0.02})
    assert found.rate_bps == {out: 250_000, back: 1_500_000}
    old = {"eth0": {"outgoing": {"network=10.0.0.0/24": {"delay": 10, "loss": 1, "rate": "500K"}}, "incoming": {}}}
    _, found = read(tmp_path, old)
    assert found.rtt_ms[("here", "10.0.0.0/24")] == 20.0 and found.rate_bps[("here", "10.0.0.0/24")] == 500_000
    several = {
        "eth0": {"outgoing": {"dst-network=10.0.0.1/32": {"delay": "1s"}, "dst-network=10.0.0.2/32": {"delay": "2us"}}}
    }
    _, found = read(tmp_path, several)
    assert (found.rtt_ms[("here", "10.0.0.1")], found.rtt_ms[("here", "10.0.0.2")]) == (2000.0, 0.004)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"delay": "soon"}, "delay is 'soon'; write a time such as 10ms"),
        ({"loss": "lots"}, "loss is 'lots'; write a percentage such as 0.1%"),
        ({"loss": "100%"}, "write a percentage of 0 to less than 100"),
        ({"rate": "192.0.2.1"}, "write a rate such as 10Mbps"),
        ({"delay": "1.2.3"}, "write a time such as 10ms"),
        ({"rate": "9" * 400}, "write a rate such as 10Mbps"),
        ({"rate": "fast"}, "rate is 'fast'; write a rate such as 10Mbps"),
        ({"corrupt": "1%"}, "corrupt is '1%'; the testbed's links have no corrupted packets; remove it"),
        ({"magic": 1}, "magic is 1; is no setting that is known here; remove it"),
    ],
)
def test_rules_that_links_cannot_keep_are_refused(tmp_path: Path, rule: Any, says: str) -> None:
    with pytest.raises(BadInput, match=r"measured\.json:5: ") as caught:
        read(tmp_path, {"eth0": {"outgoing": {RULE: rule}}})
    assert says in str(caught.value)


def test_atlas_keeps_the_times_of_its_pings(tmp_path: Path) -> None:
    results = [ping(7, "t", PACKETS, timestamp=1_700_000_240), ping(7, "t", [{"rtt": 9.0}], step=1000)]
    (one,) = atlas.round_trips(json.dumps(results), tmp_path / "x", Options()).values()
    assert [at - 1_700_000_000 for at, _ in one.samples] == [0, 240, 480, 720]
