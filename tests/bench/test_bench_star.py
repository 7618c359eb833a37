"""Mininet's star and ours get the same delays; where there is no lab to run them in, that is said."""

import pytest

from testbed.bench import star
from testbed.bench.star_inside import NODES, Ours, cables, round_trips
from testbed.network.spec.fabric import Link, Port


def test_both_stars_are_held_against_the_same_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    of = cables(1)
    ports = [Port(node, index, f"10.77.0.{index + 1}", 1) for index, node in enumerate(of)]
    changed: list[Link] = []
    ours = Ours.__new__(Ours)
    monkeypatch.setattr(ours, "_fabric", type("Fabric", (), {"change": changed.extend}), raising=False)
    ours.update(of)
    one_way = {(link.src, link.dst): link.one_way_ms for link in changed}
    assert len(one_way) == NODES * (NODES - 1)
    expected = round_trips(of, ports)
    assert {pair: one_way[pair] + one_way[pair[1], pair[0]] for pair in one_way} == expected


def test_without_the_lab_the_comparison_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(star, "missing_parts", lambda: ["apt-get install user-mode-linux"])
    assert star.star_figures() == []
    assert "left out: no lab; apt-get install user-mode-linux" in capsys.readouterr().err
