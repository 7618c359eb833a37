"""Policies in virtual time against what can be computed by hand: closed forms, bounds, and the recorded output."""

import itertools
import statistics

import pytest

from testbed.results.conservation import broken
from testbed.results.store import RunData, frame_of
from testbed.simulation.world import Overheads
from tests.simulation.made_up import POLICIES, PROMPT_TOKENS, T_DRAFT, T_TARGET, decode_table, latencies_ms, rows

# --- outputs ---


@pytest.mark.parametrize("match", [0.0, 0.4, 0.75, 1.0])
@pytest.mark.parametrize("rtt_ms", [0.0, 10.0, 70.0])
def test_every_policy_emits_the_recorded_output(match, rtt_ms):
    """Invariants 1 and 2: tokens come from the table alone, whatever the policy and the network do."""
    table = decode_table(match)
    log = rows(table, *POLICIES, rtt_ms=rtt_ms)
    assert len(log["requests"]) == len(POLICIES) * len(table.prompts)
    assert all(row.tokens == table.prompts[row.prompt_id].tokens and row.lossless for row in log["requests"])


def test_an_output_ends_with_the_end_of_text_token():
    plain = decode_table(0.8, prompts=2)
    eos = plain.prompts["p0"].tokens[20]
    log = rows(decode_table(0.8, prompts=2, eos=eos), *POLICIES)
    for row in log["requests"]:
        full = plain.prompts[row.prompt_id].tokens
        assert row.tokens == (full[: full.index(eos) + 1] if eos in full else full) and row.lossless


@pytest.mark.parametrize("rtt_ms", [0.0, 20.0, 150.0])
def test_the_log_is_conserved(rtt_ms):
    """Invariant 4."""
    log = rows(decode_table(0.6), *POLICIES, rtt_ms=rtt_ms, repeats=2)
    made = RunData(manifest={"policies": []}, **{kind: frame_of(kind, of_kind) for kind, of_kind in log.items()})
    assert broken(made) == ()
    assert all(one.received_ns > one.sent_ns or rtt_ms == 0 for one in log["messages"])


def test_a_simulation_gives_the_same_rows_every_time():
    """Invariant 3, before parquet: rows are equal, in the same order."""
    table = decode_table(0.6)
    assert rows(table, *POLICIES, repeats=2) == rows(table, *POLICIES, repeats=2)


def test_repeats_and_policies_are_worlds_of_their_own():
    table = decode_table(0.6)
    together, alone = rows(table, *POLICIES), rows(table, POLICIES[2])
    chunks = [row.chunk_ns for row in together["requests"] if row.policy == "wanspec"]
    assert chunks == [row.chunk_ns for row in alone["requests"]]


# --- closed forms ---


def test_autoregressive_takes_one_target_pass_a_token_and_one_round_trip_to_the_user():
    log = rows(decode_table(0.5), "autoregressive")
    assert latencies_ms(log) == pytest.approx([1.0 + 60 * T_TARGET] * 4, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_round_of_speculation_takes_exactly_k_drafts_and_one_target_pass(k):
    log = rows(decode_table(0.7), {"speculative": {"k": k}})
    full = [row for row in log["rounds"] if row.drafts == k]
    assert len(full) > 20
    for row in full:
        assert (row.finished_ns - row.started_ns) / 1e6 == pytest.approx(k * T_DRAFT + T_TARGET, abs=1e-6)


@pytest.mark.parametrize(("match", "k"), list(itertools.product((0.3, 0.6, 0.8), (1, 2, 4))))
def test_independent_matches_give_the_closed_form_of_tokens_per_round(match, k):
    """E[tokens] = (1 - a^(k+1)) / (1 - a); rounds near the output's end are left out, where fewer drafts are asked."""
    table = decode_table(match, prompts=40, output_tokens=200)
    log = rows(table, {"speculative": {"k": k}})
    emitted = [row.emitted for row in log["rounds"] if row.position - PROMPT_TOKENS < 200 - k - 1]
    expected = (1 - match ** (k + 1)) / (1 - match)
    error = statistics.stdev(emitted) / len(emitted) ** 0.5
    assert statistics.mean(emitted) == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("policy", [{"speculative": {"k": 3}}, {"wanspec": {"k": 3}}])
def test_a_perfect_drafter_reaches_the_bound_of_k_plus_1_tokens_a_round(policy):
    log = rows(decode_table(1.0), policy)
    assert {row.emitted for row in log["rounds"]} == {4}


def test_a_perfect_drafter_next_door_keeps_wanspecs_target_busy():
    """RTT 0, every draft right: after the first tokens the target never waits; latency is that of its passes alone."""
    log = rows(decode_table(1.0), {"wanspec": {"k": 2}}, rtt_ms=0.0)
    passes = 60 / 3
    assert latencies_ms(log) == pytest.approx([2 * T_DRAFT + passes * T_TARGET] * 4, abs=T_DRAFT + 1e-6)


def test_a_drafter_that_is_always_wrong_never_beats_target_only_decoding():
    log = rows(decode_table(0.0), *POLICIES)
    plain = min(ms for ms, row in zip(latencies_ms(log), log["requests"], strict=True) if row.policy == POLICIES[0])
    others = [ms for ms, row in zip(latencies_ms(log), log["requests"], strict=True) if row.policy != POLICIES[0]]
    assert min(others) >= plain and {row.emitted for row in log["rounds"]} == {1}


# --- dominance ---


@pytest.mark.parametrize("policy", ["autoregressive", {"speculative": {"k": 2}}])
def test_the_workers_distance_is_nothing_to_a_policy_without_a_worker(policy):
    table = decode_table(0.7)
    assert latencies_ms(rows(table, policy, rtt_ms=10.0)) == latencies_ms(rows(table, policy, rtt_ms=150.0))


@pytest.mark.parametrize("rule", ["literal", "t_draft_aware"])
@pytest.mark.parametrize("phi", [0.5, None])
def test_with_a_perfect_drafter_more_distance_is_never_faster(rule, phi):
    table = decode_table(1.0)
    assert_never_faster(table, {"wanspec": {"k": 2, "rule": rule, "phi": phi}}, (5.0, 10.0, 20.0, 35.0, 70.0, 150.0))


@pytest.mark.parametrize("match", [0.5, 0.8, 0.9])
def test_a_controller_that_always_drafts_for_itself_never_gains_by_distance(match):
    """phi off: every verdict makes the worker stale. From RTT = k T_draft on the controller then never idles, so the
    worker's tokens can only save passes, and the later they come the fewer."""
    table = decode_table(match, prompts=10)
    assert_never_faster(table, {"wanspec": {"k": 2, "phi": None}}, (15.0, 20.0, 35.0, 70.0, 150.0))


@pytest.mark.parametrize("match", [0.5, 0.8])
def test_a_worker_out_of_reach_is_co_located_speculation_to_the_nanosecond(match):
    table = decode_table(match)
    alone = latencies_ms(rows(table, {"speculative": {"k": 2}}))
    assert latencies_ms(rows(table, {"wanspec": {"k": 2, "phi": None}}, rtt_ms=20_000.0)) == alone


def test_the_literal_rule_is_not_monotone_in_the_distance():
    """At an RTT below T_draft the controller drafts one token, then waits for a worker that is one draft and one RTT
    behind; at twice the RTT it drafts both and waits for nobody. Not a defect of the simulation: the rule compares with
    R alone and not with R + T_draft."""
    table = decode_table(0.5, prompts=10)
    near, farther = (latencies_ms(rows(table, {"wanspec": {"k": 2}}, rtt_ms=rtt_ms)) for rtt_ms in (5.0, 10.0))
    assert statistics.mean(near) > 1.05 * statistics.mean(farther)


def assert_never_faster(table, policy, rtts_ms):
    """Request by request, each RTT against the next larger one."""
    found = [latencies_ms(rows(table, policy, rtt_ms=rtt_ms)) for rtt_ms in rtts_ms]
    for near, far in itertools.pairwise(found):
        assert all(b >= a for a, b in zip(near, far, strict=True)), (near, far)


@pytest.mark.parametrize("match", [0.5, 0.8])
def test_overheads_only_ever_add(match):
    table = decode_table(match)
    plain = latencies_ms(rows(table, *POLICIES))
    loaded = latencies_ms(rows(table, *POLICIES, overheads=Overheads(job_ms=0.5, message_ms=0.1)))
    assert all(after > before for before, after in zip(plain, loaded, strict=True))
