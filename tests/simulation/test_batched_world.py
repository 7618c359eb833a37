"""Batched passes in virtual time: the emulation's arithmetic, one row per member, passes counted once, memory
bounded."""

import dataclasses
from collections import Counter
from typing import Any

import pytest

from testbed.errors import RunInvalid
from testbed.experiment.requests import plan_requests
from testbed.models.devices import DeviceProfile, load_profile
from testbed.models.timing import Feed
from testbed.nodes.pacing import DeviceClock
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.policies.api import BatchReady, Draft, Verify, VerifyBatch
from testbed.results.conservation import broken
from testbed.results.lateness import by_device, shares
from testbed.results.metrics import compute
from testbed.results.store import RunData, frame_of
from testbed.simulation.kernel import Kernel
from testbed.simulation.world import run_phase
from testbed.tables.replay import TableMiss
from tests.policies.policy_file import write_policy
from tests.simulation.made_up import decode_table, inputs_of, rows, scenario
from tests.simulation.test_virtual_device import Answers

MS = 1_000_000
A100 = "a100-80gb/qwen3-32b"
PROFILE = DeviceProfile(
    name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=((1, 20.0), (8, 27.3), (64, 90.1)),
    max_pass_tokens=64, attention_ms=1e-3, kv_read_ms=0.01, sequence_ms=0.1, step_ms=2.0,
)  # fmt: skip


def users(count, **changes):
    return {"place": {"user": {"near": count}, "target": "near", "drafter": "far"}, **changes}


def run_data(log, label="centralised"):
    """The log as `results` reads it."""
    policies = [{"label": label, "name": "centralised", "params": {}}]
    manifest = {"policies": policies, "scenario": {"seed": 1}, "engine": "simulation"}
    return RunData(
        manifest, **{kind: frame_of(kind, log[kind]) for kind in ("requests", "rounds", "steps", "messages", "links")}
    )


def test_batches_and_single_jobs_share_one_queue_with_the_arithmetic_of_the_emulated_device():
    """Invariant 2: every pass starts and ends where `DeviceClock` says, cached tokens in its time."""
    jobs = [
        (0, VerifyBatch(0, (Verify(0, 1, 0, (0,) * 20, 0), Verify(0, 2, 30, (0,) * 3, 2)))),
        (1 * MS, Verify(1, 3, 40, (0,) * 70, 0)),  # two passes: 64 after 40 cached tokens, 6 after 104
        (2 * MS, VerifyBatch(2, (Verify(2, 2, 31, (0,), 0), Verify(2, 1, 20, (0,) * 5, 4)), padded=True)),
        (700 * MS, Draft(3, 1, 5, (0, 0), steps=3)),
    ]
    kernel, heard = Kernel(), []
    answers: Any = Answers()
    device = VirtualDevice(kernel, answers, {"target": PROFILE, "draft": PROFILE})
    for at_ns, job in jobs:
        kernel.at(at_ns, lambda one: device.submit(one, heard.append), job)
    kernel.run()
    batch, alone, draft = PROFILE.batch_ms, PROFILE.duration_ms, PROFILE.duration_ms
    expected = [
        [batch([Feed(20, 0), Feed(3, 30)])],
        [alone(64, 40), alone(6, 104)],
        [batch([Feed(5, 31), Feed(5, 20)])],
        [draft(2, 5), draft(1, 7), draft(1, 8)],
    ]
    clock = DeviceClock()
    for (at_ns, job), times, (got, _, ready, passes) in zip(jobs, expected, heard, strict=True):
        timings = clock.pace(at_ns, [(at_ns, at_ns)] * len(times), times)
        assert got is job
        spans = list(dict.fromkeys((one.started_ns, one.finished_ns, one.paced_ms) for one in passes))
        assert spans == [(one.started_ns, one.finished_ns, one.paced_ms) for one in timings]
        if isinstance(job, VerifyBatch):
            assert isinstance(ready, BatchReady) and len(passes) == len(job.members) == len(ready.members)


@pytest.mark.parametrize("params", [{}, {"mode": "as_reported"}, {"token_budget": 5}, {"max_batch": 3}])
def test_centralised_serving_replays_the_recorded_outputs(params):
    table = decode_table(0.7, prompts=8)
    log = rows(table, {"centralised": params}, **users(8))
    assert [row.lossless for row in log["requests"]] == [True] * 8
    assert broken(run_data(log)) == ()


def test_a_prefill_of_another_text_is_a_miss():
    from testbed.tables.replay import Replay

    replay = Replay(decode_table(0.5, prompts=1))
    replay.bind(1, "p0")
    with pytest.raises(TableMiss, match="prompt differs from the recorded one"):
        replay.verify(Verify(0, 1, 0, (5, 5), 0, prefill=True))
    assert replay.verify(Verify(0, 1, 0, (0, 1), 0, prefill=True)).tokens == ()
    with pytest.raises(TableMiss, match="not the target's output was prefilled"):
        replay.verify(Verify(0, 1, 2, (*range(2, 16), 12345), 0, prefill=True))


def test_a_decoding_batch_takes_the_profiles_time_for_all_members_at_once():
    """Eight users, one token each: throughput is 8 / T(8), not 1 / T(1) shared by turns."""
    table = decode_table(0.5, prompts=8)
    log = rows(table, "centralised", **users(8, devices={"target": A100, "drafter": "l40s/llama-3.2-1b"}))
    decoding = Counter(one.job for one in log["steps"] if one.batch == 8 and one.tokens == 1)
    job = next(job for job, members in decoding.items() if members == 8)
    mates = [one for one in log["steps"] if one.job == job]
    first = mates[0]
    assert {one.request for one in mates} == {row.request for row in log["requests"]}
    expected = load_profile(A100).batch_ms([Feed(1, one.position) for one in mates])
    assert first.paced_ms == pytest.approx(expected)
    assert (first.finished_ns - first.started_ns) / MS == pytest.approx(expected, abs=1e-6)


def test_passes_are_counted_once_and_requests_by_row():
    table = decode_table(0.5, prompts=6)
    data = run_data(rows(table, "centralised", **users(6)))
    steps = data.steps
    distinct = steps[["job", "started_ns"]].drop_duplicates()
    assert len(steps) > 3 * len(distinct)
    metrics = compute(data)["centralised"]
    assert metrics["target_passes"]["median"] == 60  # of each request: its prompt is one chunk
    assert metrics["verify_batch_size"]["n"] == len(distinct)
    span_ms = (data.requests["finished_ns"].max() - data.requests["sent_ns"].min()) / 1e6
    busy_ms = sum((one.finished_ns - one.started_ns) / 1e6 for one in steps.drop_duplicates(["job"]).itertuples())
    assert metrics["verifier_busy"]["value"] == pytest.approx(busy_ms / span_ms, abs=1e-6)
    late = steps.assign(overrun_ms=[1.0 if job == 0 else 0.0 for job in steps["job"]])
    assert shares(by_device(late))[0] == pytest.approx(1 / len(distinct))


def test_a_batch_that_lost_a_members_row_is_noticed():
    log = rows(decode_table(0.5, prompts=4), "centralised", **users(4))
    lost = next(index for index, one in enumerate(log["steps"]) if one.batch > 1)
    log["steps"] = [one for index, one in enumerate(log["steps"]) if index != lost]
    assert any("one row per member" in law for law in broken(run_data(log)))


def capped(policy, capacity, count=6):
    """The log of a world whose target device holds `capacity` tokens; a request is 16 of prompt and 60 of output."""
    table = decode_table(0.5, prompts=count)
    inputs = inputs_of(scenario(policy, requests=count, output_tokens=60, **users(count)), table)
    world, entry = inputs.world(), inputs.scenario.policies[0]
    target = load_profile("l40s/llama-3.1-8b").model_copy(update={"kv_capacity_tokens": capacity})
    bounded = dataclasses.replace(world, profiles={**world.profiles, "target": target})
    planned = plan_requests(inputs.scenario, inputs.experiment.prompts, inputs.encode, (), 1, 0)
    return run_phase(bounded, entry, 0, planned, table)


@pytest.mark.slow
def test_centralised_serving_waits_for_memory():
    log = capped("centralised", capacity=2 * 76 + 75)
    assert len(log.requests) == 6
    assert max(one.batch for one in log.steps) == 2
    started, ended = {}, {}
    for one in log.steps:
        started.setdefault(one.request, one.started_ns)
        ended[one.request] = one.finished_ns
    for number, at_ns in started.items():
        assert sum(started[other] <= at_ns < ended[other] for other in ended if other != number) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["autoregressive", "speculative"])
def test_requests_that_share_passes_wait_for_memory(policy):
    log = capped(policy, capacity=2 * 76 + 75)
    assert len(log.requests) == 6 and max(one.batch for one in log.steps) == 2


def test_a_policy_that_does_not_wait_ends_the_run_by_name(tmp_path):
    with pytest.raises(
        RunInvalid, match=r"target0: \d requests cache \d+ tokens, but the device's key-value memory holds 200"
    ):
        capped(f"{write_policy(tmp_path)}:SPEC", capacity=200)


@pytest.mark.parametrize("params", [{}, {"mode": "as_wisp_describes", "max_draft": 4}, {"batch": 2, "wait_ms": 5.0}])
def test_sled_replays_the_recorded_outputs_with_drafts_from_users_own_devices(params):
    """Users draft, and the target's device makes nothing but target passes."""
    table = decode_table(0.8, prompts=6)
    place = {"user": {"far": 6}, "target": "near"}
    log = rows(table, {"sled": params}, place=place, devices={"target": A100, "drafter": "l40s/llama-3.2-1b"})
    assert [row.lossless for row in log["requests"]] == [True] * 6
    assert broken(run_data(log)) == ()
    drafts = {(one.node, one.request) for one in log["steps"] if one.kind == "draft"}
    assert drafts == {(row.node, row.request) for row in log["requests"]}
    assert {one.node for one in log["steps"] if one.kind == "verify"} == {"target0"}


def test_padding_takes_the_devices_time():
    """A pass of ragged drafts lasts as if all were as long as the longest."""
    place = {"user": {"far": 6}, "target": "near"}
    log = rows(decode_table(0.6, prompts=6), {"sled": {"confidence": 0.0, "max_draft": 5}}, place=place,
               devices={"target": A100, "drafter": "l40s/llama-3.2-1b"})  # fmt: skip
    profile, ragged = load_profile(A100), 0
    jobs = {}
    for one in log["steps"]:
        if one.kind == "verify" and one.batch > 1:
            jobs.setdefault(one.job, []).append(one)
    for members in jobs.values():
        longest = max(one.tokens for one in members)
        ragged += longest > min(one.tokens for one in members)
        expected = profile.batch_ms([Feed(longest, one.position) for one in members])
        assert members[0].paced_ms == pytest.approx(expected)
    assert ragged


def test_autoregressive_and_centralised_do_the_same_passes_at_the_same_times():
    """One arithmetic, one set of knobs: prompts of several budgets, more users than a pass takes."""
    table = decode_table(0.7, prompts=8, output_tokens=24)
    knobs = {"token_budget": 24}
    log = rows(
        table,
        {"autoregressive": knobs},
        {"centralised": knobs},
        place={"user": {"near": 3, "far": 3}, "target": "near"},
    )
    times = {
        policy: sorted((row.prompt_id, row.first_token_ns - row.sent_ns, row.finished_ns - row.sent_ns) for row in of)
        for policy in ("autoregressive", "centralised")
        if (of := [row for row in log["requests"] if row.policy == policy])
    }
    assert len(times["autoregressive"]) == 8 and times["autoregressive"] == times["centralised"]
