"""Invariants 3 and 4 inside the policies: nothing is lost or invented between devices, wire and user; runs repeat."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.policies import registry
from testbed.testing import HashModels, Job, Loop, Result
from testbed.wire.messages import Branches, Close, Open, Tokens, Validation

POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("autoregressive", {}),
    ("speculative", {"k": 3}),
    ("wanspec", {"k": 2}),
    ("wanspec", {"k": 3, "phi": None}),
]

JOBS = [Job(request, (1, 2, request), 40, eos=(7,), at_ms=5.0 * request) for request in range(4)]


def run(name: str, params: dict[str, Any], seed: int = 0) -> Result:
    spec = registry.get(name)
    return Loop(spec, spec.parse(params), HashModels(seed), rtt_ms=15.0).run(JOBS)


@pytest.mark.parametrize(("name", "params"), POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_token_at_the_user_came_out_of_a_target_pass(name: str, params: dict[str, Any], seed: int) -> None:
    result = run(name, params, seed)
    for job in JOBS:
        output = len(result.outputs[job.request])
        rounds = [each for each in result.passes if each.kind == "verify" and each.request == job.request]
        produced = sum(each.emitted for each in rounds)
        assert all(each.emitted == each.accepted + 1 <= each.drafts + 1 for each in rounds)
        assert 0 <= produced - output <= rounds[-1].accepted  # only the last round may be cut
        messages = [m for _, _, m in result.sent if isinstance(m, Tokens) and m.request == job.request]
        assert sum(len(message.tokens) for message in messages) == output
        assert [message.final for message in messages] == [False] * (len(messages) - 1) + [True]
        positions = [message.position - len(job.prompt) for message in messages]
        assert positions == [sum(len(each.tokens) for each in messages[:index]) for index in range(len(messages))]


@pytest.mark.parametrize(("name", "params"), POLICIES)
def test_every_message_sent_is_received_once(name: str, params: dict[str, Any]) -> None:
    result = run(name, params)
    assert sorted(map(repr, result.sent)) == sorted(map(repr, result.received))


@pytest.mark.parametrize(("name", "params"), POLICIES)
def test_no_more_drafts_are_verified_than_the_output_has_room_for(name: str, params: dict[str, Any]) -> None:
    result = run(name, params)
    for job in JOBS:
        rounds = [each for each in result.passes if each.kind == "verify" and each.request == job.request]
        emitted = 0
        for each in rounds:
            assert each.drafts <= min(params.get("k", 2), job.max_tokens - emitted - 1)
            emitted += each.emitted


def test_speculative_verifies_every_token_it_drafts() -> None:
    result = run("speculative", {"k": 3})
    assert result.count("draft") == sum(each.drafts for each in result.passes if each.kind == "verify")


@pytest.mark.parametrize("params", [{"k": 2}, {"k": 3, "phi": None}])
def test_wanspec_messages_account_for_passes_and_tokens(params: dict[str, Any]) -> None:
    result = run("wanspec", params)
    for job in JOBS:
        mine = [message for _, _, message in result.sent if getattr(message, "request", None) == job.request]
        assert sum(isinstance(message, Open) for message in mine) == 1
        assert sum(isinstance(message, Close) for message in mine) == 1
        validated = [message for message in mine if isinstance(message, Validation)]
        last = next(m for m in mine if isinstance(m, Tokens) and m.final)
        assert sum(len(m.tokens) for m in validated) + len(last.tokens) == len(result.outputs[job.request])
        streamed = [message for message in mine if isinstance(message, Branches)]
        worker_passes = [p for p in result.passes if p.node == "drafter0" and p.request == job.request]
        assert len(streamed) <= len(worker_passes)
        drafts = [each for each in result.passes if each.kind == "verify" and each.request == job.request]
        local = [p for p in result.passes if p.node == "target0" and p.kind == "draft" and p.request == job.request]
        assert sum(each.remote_drafts for each in drafts) <= len(streamed)
        assert sum(each.drafts - each.remote_drafts for each in drafts) <= len(local)


@pytest.mark.parametrize("params", [{"k": 2}, {"k": 3, "phi": None}])
def test_wanspec_streams_are_gapless_and_start_on_validated_ground(params: dict[str, Any]) -> None:
    for message_request in range(len(JOBS)):
        known, expected = len(JOBS[message_request].prompt), 0
        for _, _, message in run("wanspec", params).received:
            if getattr(message, "request", None) != message_request:
                continue
            if isinstance(message, Validation):
                known = message.position + len(message.tokens)
            elif isinstance(message, Branches):
                assert message.first == expected and message.position <= known
                assert message.parents in ((), (-1,)) and len(message.tokens) == 1
                expected += 1


@pytest.mark.parametrize(("name", "params"), POLICIES)
def test_a_run_repeats_exactly(name: str, params: dict[str, Any]) -> None:
    first, second = run(name, params), run(name, params)
    assert first.passes == second.passes
    assert list(map(repr, first.sent)) == list(map(repr, second.sent))
    assert first.finished_ms == second.finished_ms
