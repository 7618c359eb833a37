"""Every family of models is right in every kind of pass, also beyond its windows, or refused in one line: invariant 1.

What is refused is written down here: a family that turns wrong, and one that turns right, are both noticed.
"""

from __future__ import annotations

import dataclasses

import pytest

from testbed.bench.families import FAMILIES, PROMPTS, REACH, WINDOW, build, rows_of
from testbed.models.passes import TRANSFORMERS, passes_of
from testbed.models.selftest import KINDS, examine, lengths_for
from testbed.models.views import FULL, Views, views_of

ALL = {"single", "tree", "batch", "speculation"}
REFUSED = {
    "llama, dynamic NTK": ALL,
    "phi3, long positions": ALL,  # where the text crosses the boundary
    "gpt_neo, local": {"tree", "batch"},
    "bloom, ALiBi": {"tree", "batch"},
    "falcon, ALiBi": {"tree", "batch"},
    "mpt, ALiBi": {"tree"},
    "mamba": ALL,
    "rwkv": ALL,
    "recurrent_gemma": ALL,
    "bert": ALL,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_right_or_refused_for_exactly_the_kinds_of_pass_that_are_wrong(name: str) -> None:
    for row in rows_of(name):
        said = {kind: getattr(row, kind) for kind in sorted(ALL)}
        assert {kind for kind, why in said.items() if why} == REFUSED.get(name, set()), said
        for why in said.values():
            assert "\n" not in why and not why.startswith("WRONG")


def test_there_are_enough_families_and_texts_go_beyond_their_windows() -> None:
    assert len({name.split(",")[0] for name in FAMILIES}) >= 25
    assert min(PROMPTS) < WINDOW < max(PROMPTS)
    for name in FAMILIES:
        model = build(name).model
        for boundary in views_of(model.config).boundaries:
            lengths = lengths_for(model.config, REACH)
            assert min(lengths) < boundary < max(lengths), name


@pytest.mark.parametrize("name", ["mistral, window", "gemma2, windows", "llama4, chunks"])
def test_a_mask_that_forgets_a_window_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial itself: passes that were wrong once are wrong for it."""
    honest = Views.masks

    def blind(self: Views, *given: object) -> object:
        return honest(dataclasses.replace(self, window=None, chunk=None), *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Views, "masks", blind)
    loaded = build(name)
    found = examine(loaded, passes_of(loaded.model, TRANSFORMERS).runtime, REACH)
    assert not found.single and "standard deviations from" in found.tree and "standard deviations from" in found.batch


def test_a_window_that_an_experiment_cannot_reach_is_not_tried() -> None:
    config = build("mistral, window").model.config
    assert max(lengths_for(config, WINDOW)) < WINDOW < max(lengths_for(config, WINDOW + 1))
    assert FULL not in views_of(config).kinds and KINDS == ("single", "tree", "batch")
