"""A device whose answers are recorded: the table's tokens at the profile's times, never early, and late ones say so."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.models.devices import load_profile
from testbed.nodes import recorded
from testbed.nodes.capacity import limits_of
from testbed.nodes.control import Bound
from testbed.nodes.jobs import Answer
from testbed.nodes.recorded import LATE_NS, RecordedDevice
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.nodes.workerclient import precise_loop
from testbed.policies.api import DeviceJob, Draft, DraftReady, Verify, VerifyReady
from testbed.simulation.kernel import Kernel
from testbed.system.units import NS_PER_MS
from testbed.tables.carried import carried, carry
from testbed.tables.replay import Replay
from testbed.tables.table import load_table
from testbed.workload.planned import PlannedRequest
from tests.nodes.nodes_inmemory import decode
from tests.simulation.made_up import PROMPT_TOKENS, decode_table

TABLE = decode_table(0.6, prompts=3, output_tokens=30)
DEVICES = {"target": "l40s/llama-3.1-8b", "draft": "l40s/llama-3.2-1b"}
GREEDY = Sampling()
BOUND = [Bound(request, f"p{request}", GREEDY) for request in range(2)]


def jobs() -> list[DeviceJob]:
    """Autoregressive decoding of one request, and a few drafts of another."""
    one = TABLE.prompts["p0"]
    prompt = tuple(range(PROMPT_TOKENS))
    found: list[DeviceJob] = [Verify(0, 0, 0, prompt, drafts=0)]
    found += [Verify(at + 1, 0, PROMPT_TOKENS + at, (one.tokens[at],), drafts=0) for at in range(4)]
    return [*found, Draft(5, 1, 0, prompt, steps=3), Draft(6, 1, PROMPT_TOKENS, (TABLE.prompts["p1"].tokens[0],))]


def file_of(folder: Path, *keys: str) -> Path:
    path = folder / "node.answers"
    path.write_bytes(carry(TABLE, keys))
    return path


def answered(folder: Path, busy_ms: float = 0.0) -> list[tuple[int, int, Answer]]:
    """Each answer: when it was handed on, when asked for, and what it was. `busy_ms`: the loop is blocked once."""
    found: list[tuple[int, int, Answer]] = []

    async def run() -> None:
        device, done = RecordedDevice(file_of(folder, "p0", "p1"), DEVICES), asyncio.Event()
        device.begin(0, BOUND)

        def over(submitted_ns: int, answer: Answer) -> None:
            found.append((time.monotonic_ns(), submitted_ns, answer))
            if len(found) == len(jobs()):
                done.set()

        for job in jobs():
            device.submit(job, over)
        if busy_ms:
            time.sleep(busy_ms / 1e3)
        await asyncio.wait_for(done.wait(), 20)
        await device.close()

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(run())
    return found


def simulated() -> list[Any]:
    kernel, replay, done = Kernel(), Replay(TABLE), []
    for one in BOUND:
        replay.bind(one.request, one.prompt_id, one.sampling)
    device = VirtualDevice(kernel, replay, {model: load_profile(name) for model, name in DEVICES.items()})
    for job in jobs():
        device.submit(job, done.append)
    kernel.run()
    return done


def test_answers_are_the_simulation_s_in_order_at_the_profile_s_times_and_never_early(tmp_path: Path) -> None:
    found, expected = answered(tmp_path), simulated()
    assert [answer.ready for _, _, answer in found] == [ready for _, _, ready, _ in expected]
    start_ns = found[0][2].passes[0].started_ns
    for (handed_ns, _, answer), (_, _, _, passes) in zip(found, expected, strict=True):
        assert handed_ns >= answer.passes[-1].finished_ns
        for ours, theirs in zip(answer.passes, passes, strict=True):
            assert (ours.paced_ms, ours.position, ours.tokens) == (theirs.paced_ms, theirs.position, theirs.tokens)
            # the first starts when it was asked for, and the others were asked for a moment later
            assert ours.finished_ns - start_ns == pytest.approx(theirs.finished_ns, abs=NS_PER_MS)


def test_an_answer_handed_on_late_says_by_how_much_and_delays_none_after_it(tmp_path: Path) -> None:
    found = answered(tmp_path, busy_ms=60.0)
    first = found[0][2].passes[-1]
    late_ms = (found[0][0] - first.finished_ns) / NS_PER_MS  # as it was handed on, a moment after the device looked
    assert LATE_NS / NS_PER_MS < 60 - first.paced_ms - 1 < first.overrun_ms <= late_ms
    took_ms = (found[4][2].passes[-1].finished_ns - first.started_ns) / NS_PER_MS
    assert took_ms == pytest.approx(5 * first.paced_ms), "the device itself was never late"


def test_what_is_a_little_late_is_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "LATE_NS", 10**10)
    assert all(one.overrun_ms == 0 for _, _, answer in answered(tmp_path, busy_ms=30.0) for one in answer.passes)


def test_a_node_carries_what_it_needs_and_knows_whose_table_it_is(tmp_path: Path) -> None:
    part = carried(carry(TABLE, ["p1", "p1", "elsewhere"]))
    assert (dict(part.prompts), part.provenance) == ({"p1": TABLE.prompts["p1"]}, TABLE.provenance)
    assert (part.name, part.sha256) == (TABLE.name, TABLE.sha256)


def test_a_trial_begins_with_empty_caches_and_a_request_released_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        device = RecordedDevice(file_of(tmp_path, "p0"), DEVICES)
        prompt = tuple(range(PROMPT_TOKENS))
        answers: asyncio.Queue[Answer] = asyncio.Queue()
        for _ in range(2):
            device.begin(0, BOUND[:1])
            device.submit(Draft(0, 0, 0, prompt), lambda _, answer: answers.put_nowait(answer))
            assert isinstance((await answers.get()).ready, DraftReady)
            device.submit(Verify(1, 0, 0, prompt, drafts=0), lambda _, answer: answers.put_nowait(answer))
            assert isinstance((await answers.get()).ready, VerifyReady)
        device.release(0)
        with pytest.raises(KeyError):
            device.submit(Draft(2, 0, 0, prompt), lambda _, answer: None)

    asyncio.run(run())


EVERY: list[tuple[str, dict[str, Any]]] = [
    ("autoregressive", {}),
    ("speculative", {"k": 2}),
    ("wanspec", {"k": 2}),
    ("wanspec", {"k": 2, "branches": 2}),
    ("centralised", {}),
    ("sled", {}),
    ("wisp", {}),
]


@pytest.mark.parametrize(("policy", "params"), EVERY, ids=lambda part: part if isinstance(part, str) else str(part))
def test_every_policy_emits_what_is_recorded(tmp_path: Path, policy: str, params: dict[str, Any]) -> None:
    """Roles on an event loop with real timers, over links in memory."""
    table = load_table("tiny-prose")
    (tmp_path / "fast.yaml").write_text(
        "{device: d, model: m, kind: synthetic, source: s, pass_ms: [[1, 1.0], [4096, 1.0]]}"
    )
    devices = dict.fromkeys(("target", "draft"), str(tmp_path / "fast.yaml"))
    keys = list(table.prompts)[:2]
    planned = [PlannedRequest(at, key, table.prompts[key].prompt, 12, GREEDY, (), None) for at, key in enumerate(keys)]
    (tmp_path / "node.answers").write_bytes(carry(table, keys))
    made: list[RecordedDevice] = []

    def device() -> RecordedDevice:
        made.append(RecordedDevice(tmp_path / "node.answers", devices))
        made[-1].begin(0, [Bound(one.request, one.prompt_id, one.sampling) for one in planned])
        return made[-1]

    limits = limits_of(load_profile(devices["target"]))
    log = asyncio.run(decode(policy, params, planned, one_way_ms=0.5, device=device, limits=limits))
    outputs = {row.request: row.tokens for row in log.requests}
    assert outputs == {at: table.prompts[key].tokens[:12] for at, key in enumerate(keys)}
    assert any(one.lookups[0] > 0 for one in made) == (params.get("branches", 1) > 1), "answers about trees are counted"
    assert all(step.real_ms == 0 and step.paced_ms == 1.0 for step in log.steps)
