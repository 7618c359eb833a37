"""In a large network a pair that carried no message needs no tail of its own; one that did still does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from testbed.network.measure.tolerances import MANY_PAIRS
from testbed.results.validity import idle_pairs, judge
from tests.results.tiny_log import COUNTS, link, rows, run

UNKNOWN = float("nan")
FEW = link("after", p99=UNKNOWN, received=10, sent=10)
SMALL = {"user0": "east", "target0": "east", "drafter0": "west"}


def large() -> dict[str, str]:
    nodes = dict(SMALL)
    while len(nodes) * (len(nodes) - 1) <= MANY_PAIRS:
        nodes[f"user{len(nodes)}"] = "west"
    return nodes


def reasons(changed: dict[str, Any], placement: dict[str, str]) -> tuple[str, ...]:
    return judge(run(changed, node_placement=placement), COUNTS).reasons


@pytest.mark.parametrize(("src", "dst"), [("user3", "user4"), ("user4", "target0")])
def test_a_pair_that_carried_nothing_may_lack_its_tail_in_a_large_network_only(src: str, dst: str) -> None:
    few = {"links": [*rows()["links"], msgspec.structs.replace(FEW, src=src, dst=dst)]}
    assert reasons(few, large()) == ()
    (reason,) = reasons(few, {**SMALL, src: "west", dst: SMALL.get(dst, "west")})
    assert "p99 not measured" in reason


def test_a_pair_that_carried_messages_must_have_its_tail_either_way() -> None:
    (reason,) = reasons({"links": [FEW]}, large())  # target0 to drafter0, which speak with each other
    assert "p99 not measured: at most 10 probe packets" in reason
    assert ("drafter0", "target0") not in idle_pairs(run(node_placement=large()))


def test_the_median_of_an_idle_pair_is_judged_all_the_same() -> None:
    off = {"links": [*rows()["links"], msgspec.structs.replace(FEW, src="user3", dst="user4", median_ms=25.0)]}
    (reason,) = reasons(off, large())
    assert "median RTT 25.00 ms is +5.00 ms off" in reason
