"""A table small enough to follow with a pencil, shared by the tests of tables and of their replay."""

from __future__ import annotations

from testbed.tables.table import DecodeTable, PromptTable, Provenance, SampledFrom, make_table

# The target says 10 11 12. The drafter agrees on 10, says 21 for 11 (its second choice is right), agrees on 12.
ONE = PromptTable(
    prompt=(1, 2),
    tokens=(10, 11, 12),
    entropies=(0.1, 0.2, 0.3),
    top2_gaps=(3.0, 2.0, 1.0),
    top_tokens=((10, 30), (21, 11), (12, 32), (40, 41)),
    top_probabilities=((0.9, 0.05), (0.5, 0.4), (0.8, 0.1), (0.7, 0.2)),
    margins=(0.85, 0.1, 0.7, 0.5),
    logit_variances=(1.0, 2.0, 3.0, 4.0),
    rollout_tokens=((10, 21, 22, 23), (21, 22, 23, 24), (12, 40, 41, 42), (40, 41, 42, 43)),
    rollout_entropies=((0.5, 0.6, 0.61, 0.62), (0.6, 0.61, 0.62, 0.63), (0.7, 0.8, 0.81, 0.82), (0.8, 0.81, 0.82, 0.9)),
    rollout_confidences=((0.9, 0.5, 0.51, 0.4), (0.5, 0.51, 0.4, 0.3), (0.8, 0.7, 0.71, 0.6), (0.7, 0.71, 0.6, 0.5)),
    second_tokens=((30, 31, 32, 33), (11, 12, 40, 41), (32, 33, 34, 35), (41, 42, 43, 44)),
    second_entropies=((0.5, 0.9, 0.91, 0.92), (0.6, 0.7, 0.8, 0.81), (0.7, 0.9, 0.91, 0.92), (0.8, 0.9, 0.91, 0.92)),
    second_confidences=((0.05, 0.3, 0.3, 0.3), (0.4, 0.8, 0.7, 0.71), (0.1, 0.3, 0.3, 0.3), (0.2, 0.3, 0.3, 0.3)),
)  # fmt: skip

PROVENANCE = Provenance(target="t", draft="d", prompts="p", depth=4, output_tokens=3, eos=None)


def tiny_table(second_choice: bool = True) -> DecodeTable:
    """Two prompts, three output tokens each, depth 4."""
    from msgspec.structs import replace

    one = ONE if second_choice else replace(ONE, second_tokens=(), second_entropies=(), second_confidences=())
    prompts = {"a": one, "b": replace(one, prompt=(3,))}
    return make_table("tiny", replace(PROVENANCE, second_choice=second_choice), prompts)


def sampled_table() -> DecodeTable:
    """The same numbers, said to be drawn: prompt a for two requests, b for one."""
    from msgspec.structs import replace

    law = SampledFrom(temperature=0.8, top_p=0.9, seed=3, repeats=2)
    prompts = {"a@7": ONE, "a@8": ONE, "b@9": replace(ONE, prompt=(3,))}
    return make_table("sampled", replace(PROVENANCE, sampling=law), prompts)
