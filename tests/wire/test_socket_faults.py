"""Every policy over real TCP whose connections break and whose nodes go: outputs stay, or somebody says why not
(invariant 9)."""

from __future__ import annotations

import asyncio

import pytest

from testbed.bench.faults import VARIANTS, main
from testbed.bench.socketfaults import SocketCase, SocketRun, draw, run_all
from testbed.bench.socketproxy import SocketFault

SCHEDULES = 17  # one of each variant


def test_outputs_stay_or_somebody_says_why_not() -> None:
    found = run_all([draw(number, VARIANTS) for number in range(SCHEDULES)])
    assert {one.case.number: one.wrong for one in found if one.wrong} == {}


def run(policy: str, *faults: SocketFault, **params: object) -> tuple[tuple[list[str], int, int], SocketRun]:
    one = SocketRun(SocketCase(0, policy, tuple(params.items()), faults))
    return asyncio.run(one.run()), one


def cuts(node: str, *at_s: float) -> list[SocketFault]:
    return [SocketFault("cut", node, False, at, 0.0) for at in at_s]


@pytest.mark.parametrize("policy", ["autoregressive", "wanspec", "sled"])
def test_a_connection_that_breaks_is_made_again_and_nothing_is_missing(policy: str) -> None:
    result, one = run(policy, *cuts("user0", 0.02, 0.05, 0.08))
    assert result == ([], 2, 0) and one.reasons == [] and one.made_again >= 1


def test_a_workers_connection_that_breaks_is_made_again() -> None:
    result, one = run("wanspec", *cuts("drafter0", 0.02, 0.06))
    assert result == ([], 2, 0) and one.made_again >= 1


def test_a_node_that_starts_anew_is_named_and_changes_nothing() -> None:
    (wrong, _, lost), one = run("wanspec", SocketFault("restart", "drafter0", False, 0.05, 0.0))
    assert wrong == [] and lost > 0
    assert any("drafter0" in reason for reason in one.reasons)


def test_a_direction_that_stops_for_a_while_only_delays() -> None:
    held = [SocketFault("half_open", "user0", back, 0.03, 0.4) for back in (False, True)]
    result, one = run("speculative", *held)
    assert result == ([], 2, 0) and one.made_again == 0


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sockets", "--count", "2"]) == 0
    assert "2 schedules over sockets" in capsys.readouterr().out
