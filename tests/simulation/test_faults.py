"""Every policy under schedules of faults: outputs stay, or requests fail with a reason; nothing hangs (invariant 9)."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.bench import faults
from testbed.bench.faults import VARIANTS, Case, draw, run_case, smaller
from testbed.policies.api import Role, RoleContext
from testbed.policies.spec import PolicySpec
from testbed.simulation.faults import Fault, Schedule

SCHEDULES = 306  # 18 of each variant


@pytest.mark.parametrize("part", range(6))
def test_outputs_stay_or_requests_fail_with_a_reason(part: int) -> None:
    found = {number: run_case(draw(number))[0] for number in range(part, SCHEDULES, 6)}
    assert {number: wrong for number, wrong in found.items() if wrong} == {}


def test_every_policy_is_in_it() -> None:
    from testbed.policies import registry

    assert {policy for policy, _ in VARIANTS} == set(registry.names())


def test_schedules_find_a_role_that_takes_messages_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(self: PolicySpec, name: str, params: Any, context: RoleContext, *_: object) -> Role:
        return self.roles[name](params, context)

    monkeypatch.setattr(PolicySpec, "role", bare)
    failed = [number for number in range(60) if run_case(draw(number))[0]]
    assert 0 < len(failed) < 60  # with nothing met twice or out of order it does well
    assert len(smaller(draw(failed[0])).schedule.faults) <= len(draw(failed[0]).schedule.faults)


def case(policy: str, *met: Fault, sessions: bool = False, **params: object) -> Case:
    return Case(1, policy, tuple(params.items()), 1, 1 if policy == "wanspec" else 0, 5.0, Schedule(met, 1, sessions))


@pytest.mark.parametrize(("policy", "params"), VARIANTS)
def test_what_a_link_loses_is_sent_again(policy: str, params: dict[str, object]) -> None:
    both = [Fault("drop", a, b, 0.0, 900.0, 0.3) for a, b in (("user0", "target0"), ("target0", "user0"))]
    assert run_case(case(policy, *both, sessions=True, **params)) == ([], 2, 0)


def test_a_loss_that_nobody_repairs_fails_the_request_with_a_reason() -> None:
    lost = Fault("drop", "target0", "user0", 100.0, 300.0)
    wrong, ended, given_up = run_case(case("autoregressive", lost))
    assert wrong == [] and ended < 2 and given_up > 0


def test_a_target_that_starts_anew_changes_no_output() -> None:
    again = [
        Fault("restart", "target0", from_ms=400.0),
        Fault("duplicate", "user0", "target0", 0.0, 100.0, 1.0, 1500.0),
    ]
    assert run_case(case("speculative", *again))[0] == []


def test_without_its_worker_wanspec_ends_where_it_is_told_to() -> None:
    stopped = Fault("stop", "drafter0", from_ms=300.0)
    assert run_case(case("wanspec", stopped, silence_ms=300.0)) == ([], 2, 0)
    wrong, ended, given_up = run_case(case("wanspec", stopped))
    assert wrong == [] and ended < 2 and given_up > 0


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main(["--count", "8"]) == 0
    assert "8 schedules" in capsys.readouterr().out
