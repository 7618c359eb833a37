"""The figures of nodes: each beside transformers', and a lean node takes a fraction of its memory."""

from __future__ import annotations

import re

import pytest

from testbed.bench import nodes


@pytest.mark.slow
def test_lean_nodes_take_a_fraction_of_what_transformers_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "NODES", 2)
    figures = {one.name: one for one in nodes.nodes_figures()}
    assert {name.partition(",")[0] for name in figures} == set(nodes.KINDS)
    for name, one in figures.items():
        beside = float(re.match(r"transformers ([\d.]+)", one.compared_with)[1])
        assert 0 < one.low <= one.value <= one.high
        if "memory" in name:
            assert one.value < beside / 3
