"""WANSpec with branches in virtual time: lossless on made-up and recorded tables, conserved, reproducible, labelled."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from testbed.errors import BadInput
from testbed.results.conservation import broken
from testbed.results.store import load
from testbed.simulation.engine import simulate, write_run
from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.tables.table import DecodeTable, load_table
from tests.simulation.made_up import inputs_of, latencies_ms, rows, scenario

ENTROPY = ByOutcome(match=Exponential(0.3), mismatch=Exponential(1.5))
RTTS_MS = (0.0, 1.0, 7.5, 11.5, 20.0, 68.0, 200.0)


def table(seed: int, match: float = 0.8, second: float = 0.6, prompts: int = 3, tokens: int = 50) -> DecodeTable:
    return iid_table(made_up_prompts(prompts, 9, seed), tokens, match, ENTROPY, ENTROPY, seed, 17, second)


def drawn(random: Random, label: str) -> dict[str, Any]:
    k = random.choice([1, 2, 3, 4])
    return {
        "wanspec": {
            "label": label,
            "k": k,
            "branches": 2,
            "theta": random.choice([None, 0.2, 0.5, 1.5]),
            "leaves": random.choice([1, 2, 4, 8]),
            "local_branches": random.random() < 0.5,
            "phi": random.choice([None, 0.0, 0.5, 5.0]),
            "rule": random.choice(["literal", "t_draft_aware"]),
            "rtt_ms": random.choice(["measured", "measured", 15.0]),
            "catch_up": random.choice([None, 2]),
            "max_nodes": random.choice([8, 256]),
        }
    }


@pytest.mark.parametrize("seed", range(8))
def test_output_equals_the_target_s_on_random_tables(seed: int) -> None:
    """Invariant 1, over k, theta, s, phi and the round trip."""
    random = Random(seed)
    policies = [drawn(random, f"tree-{number}") for number in range(6)]
    made = table(seed, match=random.choice([0.0, 0.5, 0.8, 1.0]), second=random.random())
    log = rows(made, *policies, rtt_ms=random.choice(RTTS_MS))
    assert len(log["requests"]) == 6 * 3
    assert all(row.lossless for row in log["requests"])


def test_trees_as_wide_as_the_choices_of_a_made_up_table_are_lossless_and_wider_ones_refused() -> None:
    def wide(choices: int) -> DecodeTable:
        return iid_table(
            made_up_prompts(3, 9, 5), 50, 0.5, ENTROPY, ENTROPY, 5, 17, 0.5, choices=choices,
            later_match_rates=(0.6, 0.6)[: choices - 2],
        )  # fmt: skip

    tree = {"wanspec": {"branches": 4, "theta": None, "leaves": 8, "local_branches": True}}
    log = rows(wide(4), tree)
    assert len(log["requests"]) == 3 and all(row.lossless for row in log["requests"])
    with pytest.raises(BadInput, match=r"3 choices are recorded, but 4 were requested.*outcomes.iid.choices"):
        rows(wide(3), tree)


@pytest.mark.parametrize("rtt_ms", [1.0, 20.0, 70.0])
def test_output_equals_the_target_s_on_the_shipped_table(rtt_ms: float) -> None:
    policies = [drawn(Random(f"{rtt_ms}/{number}"), f"tree-{number}") for number in range(4)]
    log = rows(
        load_table("tiny-prose"),
        *policies,
        rtt_ms=rtt_ms,
        requests=3,
        output_tokens=80,
        models={"target": "tiny-target", "draft": "tiny-draft"},
    )
    assert all(row.lossless for row in log["requests"]) and len(log["requests"]) == 12


def test_equal_seeds_give_equal_rows() -> None:
    """Invariant 3."""
    policy = {"wanspec": {"branches": 2, "theta": None}}
    first, again = (msgspec.json.encode(rows(table(1), policy, rtt_ms=11.5)) for _ in range(2))
    assert first == again


def test_a_second_choice_that_is_always_right_leaves_no_stall() -> None:
    policy = {"wanspec": {"branches": 2, "theta": None, "phi": 50.0, "leaves": 8}}
    with_it, without = (rows(table(2, second=second), policy, rtt_ms=20.0) for second in (1.0, 0.0))
    assert sum(latencies_ms(with_it)) < 0.85 * sum(latencies_ms(without))


def test_a_batched_pass_is_one_pass() -> None:
    """Target-site draft passes are counted in passes, however many leaves one drafts from."""
    log = rows(table(3), {"wanspec": {"branches": 2, "theta": None, "leaves": 8}}, rtt_ms=20.0)
    drafts = [step for step in log["steps"] if step.kind == "draft"]
    assert len({(step.node, step.job) for step in drafts}) == len(drafts)
    assert 8 in {step.tokens for step in drafts if step.node == "drafter0"}


def test_a_cut_catch_up_takes_as_many_passes_more() -> None:
    """From a worker far away and never waited for: everything it sent is known and unprocessed here."""
    capped, free = (
        rows(table(4), {"wanspec": {"branches": 2, "phi": None, "catch_up": cap}}, rtt_ms=20.0) for cap in (1, None)
    )

    def passes(log: dict[str, list[Any]]) -> list[int]:
        return [step.tokens for step in log["steps"] if step.kind == "draft" and step.node == "target0"]

    assert max(passes(free)[1:]) > 1
    assert sorted(set(passes(capped))) == [1, 9]  # the prompt is not a catch-up


def test_a_run_says_how_much_was_approximated_and_conserves_its_rows(tmp_path: Path) -> None:
    made = table(5)
    policies = ("speculative", {"wanspec": {"branches": 2, "theta": None, "label": "tree"}}, "wanspec")
    inputs = inputs_of(scenario(*policies, requests=3, output_tokens=50), made)
    simulated = simulate(inputs)
    data, summary = write_run(inputs, simulated, "made-up", tmp_path)
    (said,) = summary["tree_lookups"].items()
    assert said == ("tree", data.manifest["tree_lookups"]["tree"])
    assert 0 < said[1]["approximated"] < said[1]["of"]
    assert json.loads((tmp_path / "summary.json").read_text())["tree_lookups"] == summary["tree_lookups"]
    assert broken(load(tmp_path)) == ()
    tree = summary["policies"]["tree"]
    assert tree["wasted_draft_tokens"]["median"] >= 0
    assert tree["draft_uplink_ms"]["median"] == pytest.approx(10.0)


def test_a_run_without_trees_has_nothing_to_say_about_them(tmp_path: Path) -> None:
    inputs = inputs_of(scenario("wanspec", requests=3, output_tokens=50), table(5))
    simulated = simulate(inputs)
    assert simulated.log.lookups == {}
    data, summary = write_run(inputs, simulated, "made-up", tmp_path)
    assert "tree_lookups" not in summary and "tree_lookups" not in data.manifest
