"""Prompt lookup drafts what followed the same words earlier, in every kind of pass, and changes no output."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from testbed.decoding.processing import softmax
from testbed.errors import BadInput, RunInvalid
from testbed.models.check import PairReport, check_pair
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.fitness import require_fit
from testbed.models.limits import Text
from testbed.models.load import check_same_tokenizer, load_model, model_hash
from testbed.models.lookup import BELIEVED, LOOKUP, UNSURE, LookupRuntime, choices, lookup_sha256
from testbed.models.passes import passes_of
from testbed.models.reference import target_only
from testbed.models.speculate import speculate
from testbed.tables.record import record
from testbed.workload.prompts import Prompt, PromptSet, load_prompts

ROWS = 50


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ([1, 2, 3, 9, 1, 2, 3], [9, 1]),  # three match; then nothing is left that a shorter end would add but 9 again
        ([1, 2, 9, 7, 1, 2, 8, 1, 2], [8, 9]),  # the latest place first
        ([4, 2, 7, 1, 2], [7]),  # one matches
        ([1, 2, 3], [3]),  # nothing does
        ([5], [5]),
    ],
)
def test_what_followed_the_longest_end_is_proposed(text: list[int], tokens: list[int]) -> None:
    found = [token for token, _ in choices(text)]
    assert found[: len(tokens)] == tokens[: len(found)]


def test_the_rule_is_the_one_that_tables_were_recorded_with() -> None:
    """Another outcome here is another rule: raise RULE, and record the tables of this drafter again."""
    draws = random.Random(3)
    said = [choices([draws.randrange(9) for _ in range(draws.randint(1, 60))]) for _ in range(200)]
    assert hashlib.sha256(repr(said).encode()).hexdigest()[:16] == "ebd8955ecaf8709a"
    assert lookup_sha256()[:16] == "dad8f03ae0f24686"


def test_what_is_believed_falls_with_the_length_that_matches_and_never_sums_to_one() -> None:
    assert choices([1, 2, 3, 9, 1, 2, 3])[0] == (9, BELIEVED[3])
    assert choices([4, 2, 7, 1, 2]) == [(7, BELIEVED[1])]
    assert choices([1, 2, 3]) == [(3, UNSURE)]
    draws = random.Random(1)
    for _ in range(300):
        found = choices([draws.randrange(4) for _ in range(draws.randint(1, 40))])
        assert len({token for token, _ in found}) == len(found) and sum(share for _, share in found) < 1


def test_logits_are_those_of_the_text_alone_in_every_kind_of_pass() -> None:
    draws = random.Random(2)
    runtime, held = LookupRuntime(ROWS), [draws.randrange(6) for _ in range(20)]
    runtime.forward(1, 0, held)
    for _ in range(100):
        position = draws.randint(0, len(held))
        tokens = [draws.randrange(6) for _ in range(draws.randint(1, 5))]
        last = draws.randint(1, len(tokens))
        held = [*held[:position], *tokens]
        rows = runtime.forward(1, position, tokens, last)
        fresh = LookupRuntime(ROWS)
        for row, back in zip(rows, range(last - 1, -1, -1), strict=True):
            np.testing.assert_array_equal(row, fresh.forward(9, 0, held[: len(held) - back])[0])
        token, share = choices(held)[0]
        assert int(rows[-1].argmax()) == token and softmax(rows[-1])[token] == pytest.approx(share, rel=1e-4)
        nodes, parents = [draws.randrange(6) for _ in range(4)], [-1, 0, 0, 2]
        tree = runtime.forward_tree(TreeFeed(1, len(held) - 1, held[-1:], nodes, parents, [-1, 3]))
        np.testing.assert_array_equal(tree[0], rows[-1])
        path = [*held, nodes[0], nodes[2], nodes[3]]
        np.testing.assert_array_equal(tree[1], fresh.forward(8, 0, path)[0])
        assert runtime.length(1) == len(held)
    batch = runtime.forward_batch([BatchFeed(1, len(held), [3, 4], 2), BatchFeed(2, 0, [5], 0)])
    assert batch[0].shape == (2, ROWS) and batch[1].shape == (0, ROWS)


def test_bad_calls_are_refused() -> None:
    runtime = LookupRuntime(ROWS)
    runtime.forward(1, 0, [1, 2])
    for call in (
        lambda: runtime.forward(1, 3, [1]),
        lambda: runtime.forward(1, 0, [1], 2),
        lambda: runtime.forward_tree(TreeFeed(1, 0, [], [1], [-1], [0])),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(RunInvalid, match="only 50 rows"):
        runtime.forward(1, 0, [ROWS])


def test_it_fits_every_target_and_is_none_itself() -> None:
    check_same_tokenizer("tiny-target", LOOKUP)
    fitness = require_fit({"target": "tiny-draft-small", "draft": LOOKUP}, {}, [Text("p1", (5, 6, 7), 30)])
    assert fitness.vocabularies == {"target": 2048} and "draft" not in fitness.packs
    assert model_hash(LOOKUP) != model_hash("tiny-draft-small")
    with pytest.raises(BadInput, match="drafter without a model"):
        require_fit({"target": LOOKUP}, {}, [Text("p1", (5, 6, 7), 30)])


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 4])
def test_speculation_with_it_gives_target_only_output(k: int) -> None:
    target = passes_of(load_model("tiny-target", threads=1).model).runtime()
    draws = random.Random(4)
    accepted = 0
    for _ in range(6):
        prompt = draws.choices(range(1, 2048), k=12)
        said = speculate(target, LookupRuntime(2048), 0, prompt, 60, k)
        assert said.tokens == target_only(target, prompt, 60).tokens
        accepted += sum(said.accepted)
    assert accepted > 0


@pytest.mark.slow
def test_a_decode_table_holds_what_it_drafts() -> None:
    """Recorded as its passes say it, and the table says whose drafts they are."""
    prompts = PromptSet("one", (Prompt("p1", "Said Ann: I like tea. Said Ben: I like tea. Said Ann: I like"),), "00")
    table = record("tiny-target", LOOKUP, prompts, 12, depth=4)
    assert table.provenance.draft == LOOKUP and table.provenance.draft_sha256 == model_hash(LOOKUP)
    one, runtime = table.prompts["p1"], LookupRuntime(2048)
    for at in range(len(one.tokens) - 1):
        text = [*one.prompt, *one.tokens[:at]]
        assert one.top_tokens[at][0] == int(runtime.forward(1, 0, text)[0].argmax())


@pytest.fixture(scope="module")
def checked() -> PairReport:
    return check_pair("tiny-target", LOOKUP, load_prompts("prose").prompts[::16], max_tokens=32, threads=1)


@pytest.mark.slow
def test_a_target_is_checked_with_it_as_with_a_drafter(checked: PairReport) -> None:
    assert checked.lossless and checked.tokens == 3 * 32
    assert (checked.draft, checked.draft_sha256, checked.draft_parameters) == (LOOKUP, lookup_sha256(), 0)
    assert (checked.target_passes, checked.draft_passes) == ("lean", LOOKUP)
    assert checked.rates.transformers_assisted is not None


@pytest.mark.slow
def test_its_acceptance_is_how_often_it_says_the_target_s_token(checked: PairReport) -> None:
    target = load_model("tiny-target", threads=1)
    agreed = positions = 0
    for prompt in load_prompts("prose").prompts[::16]:
        text = target.tokenizer(prompt.text)["input_ids"]
        for token in target_only(passes_of(target.model).runtime(), text, 32, eos=target.ends).tokens:
            agreed += choices(text)[0][0] == token
            positions += 1
            text = [*text, token]
    assert checked.acceptance == agreed / positions > 0
