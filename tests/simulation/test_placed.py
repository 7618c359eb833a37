"""Several drafters in virtual time: load of other tenants is reported in messages, and requests go where it is low."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.simulation.engine import rows_of, simulate
from tests.simulation.made_up import decode_table, inputs_of, scenario

TABLE = decode_table(0.75)
PLACE = {"user": "near", "target": "near", "drafter": ["near", "far"]}
BUSY = {"near": {"role": "drafter", "rate_per_s": 20.0, "output_tokens": 200}}


def ran(placement: Any, **more: Any) -> tuple[dict[str, list[Any]], Any]:
    made = scenario({"wanspec": {"silence_ms": 300, "placement": placement}}, place=PLACE, **more)
    inputs = inputs_of(made, TABLE)
    simulated = simulate(inputs)
    assert simulated.given_up == {}
    rows = rows_of(inputs, simulated)
    assert [row.lossless for row in rows["requests"]] == [True] * 4
    by_kind: dict[str, list[Any]] = {}
    for row in rows["messages"]:
        by_kind.setdefault(row.kind, []).append(row)
    return by_kind, rows


def test_the_nearest_is_taken_until_it_is_busy() -> None:
    nearest, _ = ran("nearest", background=BUSY)
    assert {one.dst for one in nearest["open"]} == {"drafter0"} and "load" not in nearest
    aware, _ = ran({"rule": "nearest_idle", "idle_ms": 2.0}, background=BUSY)
    assert "drafter1" in {one.dst for one in aware["open"]}
    idle, _ = ran({"rule": "nearest_idle", "idle_ms": 2.0})
    assert {one.dst for one in idle["open"]} == {"drafter0"}


def test_every_drafter_is_asked_once_and_reports_over_the_network() -> None:
    heard, _ = ran("load_aware", background=BUSY)
    assert sorted(one.dst for one in heard["watch"]) == ["drafter0", "drafter1"]
    assert {one.src for one in heard["load"]} == {"drafter0", "drafter1"}
    assert all(one.received_ns > one.sent_ns for one in heard["load"] if one.src == "drafter1")


@pytest.mark.parametrize("rule", ["nearest", "load_aware"])
def test_a_request_whose_drafter_stops_moves_in_virtual_time(rule: str) -> None:
    stayed, _ = ran({"rule": rule}, events=[{"at_s": 0.5, "stop_node": "drafter0"}])
    moved, _ = ran({"rule": rule, "move": True}, events=[{"at_s": 0.5, "stop_node": "drafter0"}])

    def several(rows: list[Any]) -> list[int]:
        return [one for one in {row.request for row in rows} if sum(row.request == one for row in rows) > 1]

    assert several(moved["open"]) and not several(stayed["open"])
