"""Replaying a recorded table gives what the real models give, token for token and entropy for entropy."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import torch

from testbed.cli.record import record_to_file, sampled_from
from testbed.decoding.cacheview import CacheView
from testbed.decoding.rng import request_seed
from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.models.compute import Compute
from testbed.models.load import load_model
from testbed.models.runtime import CausalRuntime
from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady
from testbed.tables.record import record
from testbed.tables.record_prompt import Extent, record_prompt
from testbed.tables.replay import Replay
from testbed.tables.table import DecodeTable, PromptTable, Provenance, SampledFrom, load_table, make_table, output_key
from testbed.workload.prompts import Prompt, PromptSet

REQUEST = 3
GREEDY = Sampling()
SEED = 11  # of a sampled request
OUTPUT_TOKENS = 30
DEPTH = 9
# Largest difference between entropies of the same token in passes of 1 and of up to 9 tokens, shipped pair, fp32: 7e-6
# (docs/decode-tables.md). Ten times that.
FP32_TOLERANCE = 7e-5


def as_table(
    one: PromptTable, depth: int, second_choice: bool = True, sampling: SampledFrom | None = None
) -> DecodeTable:
    provenance = Provenance(
        target="t", draft="d", prompts="p", depth=depth, output_tokens=1, eos=None, second_choice=second_choice,
        sampling=msgspec.UNSET if sampling is None else sampling,
    )  # fmt: skip
    request = Sampling() if sampling is None else sampling.with_seed(SEED)
    return make_table("walk", provenance, {output_key("a", request): one})


@pytest.fixture
def recorded(near_pair: tuple[Any, Any], sequence: list[int]) -> PromptTable:
    target, drafter = near_pair
    extent = Extent(OUTPUT_TOKENS, DEPTH, ())
    return record_prompt(CausalRuntime(target), CausalRuntime(drafter), tuple(sequence[:6]), extent)


class Walk:
    """A worker that drafts ahead and hears of verdicts late, and a target that verifies what it has: at random.

    Every job goes to the real models and to the table; both must answer alike.
    """

    def __init__(
        self, table: DecodeTable, target: Any, drafter: Any, seed: int, tolerance: float, sampling: Sampling = GREEDY
    ) -> None:
        self.one = table.prompts[output_key("a", sampling)]
        self.sampling = sampling
        self.replay = Replay(table)
        self.replay.bind(REQUEST, "a", sampling)
        whole = lambda tokens: [tokens]  # noqa: E731
        runtimes: Any = {"target": CausalRuntime(target), "draft": CausalRuntime(drafter)}
        self.compute = Compute(runtimes, {"target": whole, "draft": whole})
        self.random = Random(seed)
        self.tolerance = tolerance
        self.depth = table.depth
        self.validated = list(self.one.prompt)
        self.heard = list(self.one.prompt)
        self.path: list[int] = []
        self.draft_cache, self.target_cache = CacheView(), CacheView()
        self.accepted = self.refused = self.seconds = 0

    def run(self) -> None:
        end = len(self.one.prompt) + len(self.one.tokens)
        while len(self.validated) + 5 < end:
            self.random.choice((self.draft, self.draft, self.verify, self.hear, self.rewind))()

    def draft(self) -> None:
        steps = self.random.randint(1, 4)
        if len(self.path) + steps > self.depth:
            return
        position, tokens = self.draft_cache.plan(self.heard, self.path)
        job = Draft(1, REQUEST, position, tokens, steps)
        real, replayed = self.compute.draft(job)[0], self.replay.draft(job)
        self.same(real, replayed)
        assert replayed.confidences == pytest.approx(real.confidences, rel=0, abs=self.tolerance)
        self.draft_cache.fed(position, tokens, real.tokens)
        self.path += real.tokens

    def verify(self) -> None:
        known = self.heard + self.path
        count = self.random.randint(0, 4)
        right = known[: len(self.validated)] == self.validated
        drafts = known[len(self.validated) :][:count] if right else []
        position, tokens = self.target_cache.plan(self.validated, drafts, fresh=len(drafts) + 1)
        job = Verify(2, REQUEST, position, tokens, len(drafts), self.sampling)
        real, replayed = self.compute.verify(job)[0], self.replay.verify(job)
        self.same(real, replayed)
        assert replayed.accepted == real.accepted
        self.target_cache.fed(position, tokens)
        self.validated += real.tokens
        self.accepted += real.accepted
        self.refused += len(drafts) - real.accepted

    def hear(self) -> None:
        tokens = self.validated[len(self.heard) :]
        self.heard += tokens
        if self.path[: len(tokens)] == tokens:
            del self.path[: len(tokens)]
        else:
            self.path.clear()

    def rewind(self) -> None:
        """Back to an earlier draft, or to a second choice where the text so far is the target's own."""
        del self.path[self.random.randint(0, len(self.path)) :]
        at = len(self.heard) - len(self.one.prompt)
        if not self.path and self.one.second_tokens and self.random.random() < 0.3:
            self.path.append(self.one.second_tokens[at][0])
            self.seconds += 1

    def same(self, real: DraftReady | VerifyReady, replayed: DraftReady | VerifyReady) -> None:
        assert replayed.tokens == real.tokens
        assert replayed.entropies == pytest.approx(real.entropies, rel=0, abs=self.tolerance)


@pytest.mark.slow
def test_replay_equals_the_real_models_whatever_a_policy_asks(
    near_pair: tuple[Any, Any], recorded: PromptTable
) -> None:
    accepted = refused = seconds = 0
    for seed in range(6):
        walk = Walk(as_table(recorded, DEPTH), *near_pair, seed, tolerance=1e-9)
        walk.run()
        accepted, refused, seconds = accepted + walk.accepted, refused + walk.refused, seconds + walk.seconds
    assert accepted > 10 < refused  # the claim is not about drafts that are all right or all wrong
    assert seconds > 5


@pytest.mark.slow
@pytest.mark.parametrize("law", [SampledFrom(temperature=0.7), SampledFrom(temperature=1.3, top_k=9, top_p=0.9)])
def test_replay_equals_the_real_models_when_the_target_samples(
    near_pair: tuple[Any, Any], sequence: list[int], law: SampledFrom
) -> None:
    """Seeded coupling: the target's draws are keyed by request seed and position, so no draft can move them."""
    sampling = law.with_seed(SEED)
    target, drafter = (CausalRuntime(model) for model in near_pair)
    extent = Extent(OUTPUT_TOKENS, DEPTH, ())
    sampled = record_prompt(target, drafter, tuple(sequence[:6]), extent, sampling)
    assert sampled.tokens != record_prompt(target, drafter, tuple(sequence[:6]), extent).tokens
    accepted = refused = 0
    for seed in range(6):
        walk = Walk(as_table(sampled, DEPTH, sampling=law), *near_pair, seed, 1e-9, sampling)
        walk.run()
        accepted, refused = accepted + walk.accepted, refused + walk.refused
    assert accepted > 5 < refused


@pytest.mark.slow
def test_the_shipped_table_replays_the_shipped_pair() -> None:
    table = load_table("tiny-prose")
    target, drafter = (load_model(name, threads=1).model for name in ("tiny-target", "tiny-draft"))
    for seed, key in enumerate(("prose-01", "prose-24", "prose-48")):
        one = DecodeTable(table.name, table.provenance, {"a": table.prompts[key]}, table.sha256)
        Walk(one, target, drafter, seed, FP32_TOLERANCE).run()


def test_rollouts_are_the_drafter_s_greedy_continuations(near_pair: tuple[Any, Any], recorded: PromptTable) -> None:
    """Against uncached passes over the whole text: guards the reuse of rollouts where both models agree."""
    drafter = near_pair[1]
    for at in range(0, OUTPUT_TOKENS + 1, 3):
        for rollout, rank in ((recorded.rollout_tokens, 0), (recorded.second_tokens, 1)):
            text = [*recorded.prompt, *recorded.tokens[:at]]
            for depth, token in enumerate(rollout[at]):
                with torch.inference_mode():
                    logits = drafter(torch.tensor([text]), use_cache=False).logits[0, -1]
                assert token == int(logits.topk(2).indices[rank if depth == 0 else 0])
                text.append(token)


def test_the_state_is_read_off_the_same_row(near_pair: tuple[Any, Any], recorded: PromptTable) -> None:
    text = torch.tensor([[*recorded.prompt, *recorded.tokens]])
    with torch.inference_mode():
        rows = near_pair[1](text, use_cache=False).logits[0, len(recorded.prompt) - 1 :]
        target_rows = near_pair[0](text, use_cache=False).logits[0, len(recorded.prompt) - 1 : -1]
    top = rows.softmax(-1).topk(4)
    assert [list(tokens) for tokens in recorded.top_tokens] == top.indices.tolist()
    for at, values in enumerate(top.values.tolist()):
        assert recorded.top_probabilities[at] == pytest.approx(values)
        assert recorded.margins[at] == pytest.approx(values[0] - values[1])
    assert recorded.logit_variances == pytest.approx(rows.var(-1, correction=0).tolist())
    gaps = target_rows.topk(2).values
    assert recorded.top2_gaps == pytest.approx((gaps[:, 0] - gaps[:, 1]).tolist())
    assert list(recorded.tokens) == target_rows.argmax(-1).tolist()


class Counting(CausalRuntime):
    passes = 0

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        self.passes += 1
        return super().forward(*arguments, **settings)


def test_only_choices_that_leave_the_output_cost_passes(near_pair: tuple[Any, Any], sequence: list[int]) -> None:
    drafter = Counting(near_pair[1])
    one = record_prompt(CausalRuntime(near_pair[0]), drafter, tuple(sequence[:6]), Extent(20, 5, (), False))
    leaving = 1 + sum(one.matched(at) == 0 for at in range(20))  # the end has no token to agree with
    assert drafter.passes == 21 + 4 * leaving
    assert drafter.length(0) == 0
    as_table(one, 5, second_choice=False)


def test_an_output_is_recorded_as_far_as_drafts_may_reach_after_its_end(
    near_pair: tuple[Any, Any], recorded: PromptTable
) -> None:
    eos = recorded.tokens[7]
    extent = Extent(OUTPUT_TOKENS, 3, (eos,))
    one = record_prompt(CausalRuntime(near_pair[0]), CausalRuntime(near_pair[1]), recorded.prompt, extent)
    assert one.tokens == recorded.tokens[: recorded.tokens.index(eos) + 1 + 3]


def one_prompt() -> PromptSet:
    return PromptSet("one", (Prompt("p1", "When Dorothy stood in the doorway and looked around,"),), "00")


def test_a_recording_of_the_shipped_pair_says_where_it_comes_from(tmp_path: Path) -> None:
    notes: list[str] = []
    table = record("tiny-target", "tiny-draft", one_prompt(), 5, depth=3, progress=notes.append)
    assert notes == ["prompt 1 of 1: p1"]
    table.write(tmp_path / "one.parquet")
    origin = load_table(str(tmp_path / "one.parquet")).provenance
    assert (origin.target, origin.draft, origin.prompts, origin.depth) == ("tiny-target", "tiny-draft", "one", 3)
    assert len(origin.target_sha256) == len(origin.draft_sha256) == 64
    assert origin.versions["torch"] == torch.__version__.split("+")[0] or origin.versions["torch"] == torch.__version__


def test_the_command_writes_a_table_and_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "two.jsonl").write_text('{"id": "a", "text": "The road"}\n{"id": "b", "text": "Toto ran"}\n')
    out = tmp_path / "two.parquet"
    said = record_to_file("tiny-target", "tiny-draft", str(tmp_path / "two.jsonl"), 4, 3, out, second_choice=False)
    table = load_table(str(out))
    assert table.name == "two" and list(table.prompts) == ["a", "b"] and not table.provenance.second_choice
    assert said.startswith(f"{out}: 2 prompts, 8 output tokens, depth 3, the drafter agrees at ")
    assert said.endswith(f"sha256 {table.sha256[:12]}, {out.stat().st_size} bytes")


def test_a_sampled_recording_holds_one_output_a_request_and_says_whose_draws_they_are(tmp_path: Path) -> None:
    (tmp_path / "two.jsonl").write_text('{"id": "a", "text": "The road"}\n{"id": "b", "text": "Toto ran"}\n')
    out = tmp_path / "two.parquet"
    law = SampledFrom(temperature=0.9, top_p=0.95, seed=5, repeats=2)
    said = record_to_file("tiny-target", "tiny-draft", str(tmp_path / "two.jsonl"), 4, 2, out, sampling=law)
    assert said.startswith(f"{out}: 2 prompts, sampled with seed 5, 2 repeats, 16 output tokens, ")
    table = load_table(str(out))
    assert table.provenance.sampling == law and list(table.prompt_tokens) == ["a", "b"]
    for index, prompt in enumerate(("a", "b")):
        for repeat in (0, 1):
            assert table.output(prompt, law.with_seed(request_seed(5, index, repeat))) is not None


def test_a_greedy_recording_does_not_change_with_options_for_sampling() -> None:
    assert sampled_from(0.0, 0, 1.0, 0, 1) is None
    for options in ((5, 1.0, 0, 1), (0, 0.9, 0, 1), (0, 1.0, 3, 1), (0, 1.0, 0, 2)):
        with pytest.raises(BadInput, match="set --temperature"):
            sampled_from(0.0, *options)
    with pytest.raises(BadInput, match=r"--top-p 1\.5: it should be less than or equal to 1"):
        sampled_from(1.0, 0, 1.5, 0, 1)


def test_a_recording_longer_than_the_model_is_refused() -> None:
    with pytest.raises(BadInput, match=r"prompt 'p1' .* ask for fewer output tokens"):
        record("tiny-target", "tiny-draft", one_prompt(), 5000)
    with pytest.raises(BadInput, match="at least 1"):
        record("tiny-target", "tiny-draft", one_prompt(), 5, depth=0)


def test_where_a_table_goes_is_checked_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give it that suffix"):
        record_to_file("tiny-target", "tiny-draft", "prose", 5, 3, tmp_path / "t.csv")
    with pytest.raises(BadInput, match="create it first"):
        record_to_file("tiny-target", "tiny-draft", "prose", 5, 3, tmp_path / "none" / "t.parquet")


def test_margins_and_logit_variances_replay_as_the_real_models_give_them(
    near_pair: tuple[Any, Any], recorded: PromptTable
) -> None:
    """A stop rule must see the same numbers in both engines, also after a draft that the target refuses."""
    table = as_table(recorded, DEPTH)
    off_output = 0
    for at in range(0, OUTPUT_TOKENS, 4):
        walk = Walk(table, *near_pair, 0, 1e-9)
        text = [*recorded.prompt, *recorded.tokens[:at]]
        job = Draft(1, REQUEST, 0, tuple(text), DEPTH, features=True)
        real, replayed = walk.compute.draft(job)[0], walk.replay.draft(job)
        walk.same(real, replayed)
        assert len(real.margins) == len(real.logit_variances) == DEPTH
        assert replayed.margins == pytest.approx(real.margins, rel=0, abs=1e-6)
        assert replayed.logit_variances == pytest.approx(real.logit_variances, rel=1e-5)
        off_output += recorded.matched(at) < DEPTH - 1
    assert off_output > 2


def test_numbers_for_stop_rules_come_only_where_they_are_asked_for(
    near_pair: tuple[Any, Any], recorded: PromptTable
) -> None:
    walk = Walk(as_table(recorded, DEPTH), *near_pair, 0, 1e-9)
    job = Draft(1, REQUEST, 0, recorded.prompt, 2)
    for ready in (walk.compute.draft(job)[0], walk.replay.draft(job)):
        assert ready.margins == ready.logit_variances == ()


def test_a_table_recorded_without_margins_keeps_its_hash_and_refuses_to_guess_them(recorded: PromptTable) -> None:
    without = msgspec.structs.replace(recorded, rollout_features=msgspec.UNSET)
    assert "rollout_features" not in msgspec.msgpack.decode(msgspec.msgpack.encode(without))
    replay = Replay(as_table(without, DEPTH))
    replay.bind(REQUEST, "a")
    with pytest.raises(BadInput, match="this table does not hold: record it again"):
        replay.draft(Draft(1, REQUEST, 0, recorded.prompt, 2, features=True))
