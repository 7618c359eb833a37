"""Runs at other dilations than 1: the same tokens, the same virtual time, and what says so wherever numbers are."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.network.test_pcapng import blocks, options
from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

FEW = {"workload": workload(2, 16)}


def tokens(run: Path) -> dict[Any, tuple[int, ...]]:
    read = pd.read_parquet(run / "requests.parquet").set_index(["policy", "request"])
    return {key: tuple(one) for key, one in read["tokens"].items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], Path]]:
    """The same experiment undilated and at 2, on the relay."""
    found = []
    for dilation in (1, 2):
        folder = tmp_path_factory.mktemp(f"n{dilation}")
        path = experiment(folder, **FEW, time={"dilation": dilation})
        found.append(finished(path, folder / "runs", "--fabric", "relay", "--pcap", "user0:target0"))
    return found


def test_the_outputs_are_the_same_and_checked(both: list[tuple[dict[str, Any], Path]]) -> None:
    (first, undilated), (second, dilated) = both
    assert tokens(undilated) == tokens(dilated)
    for summary in (first, second):
        assert summary["lossless"] == {"checked": 6, "equal": 6, "kind": "checked"}


def test_it_takes_twice_as_long_here_and_as_long_as_before_in_the_run(both: list[tuple[dict[str, Any], Path]]) -> None:
    (first, _), (second, _) = both
    assert (first["clock"]["dilation"], second["clock"]["dilation"]) == (1, 2)
    for phase, other in zip(first["clock"]["phases"], second["clock"]["phases"], strict=True):
        assert other["virtual_s"] == pytest.approx(phase["virtual_s"], rel=0.1)
        assert other["wall_s"] >= 1.99 * other["virtual_s"]
    for policy, metrics in first["policies"].items():
        assert second["policies"][policy]["tpot_ms"]["median"] == pytest.approx(metrics["tpot_ms"]["median"], rel=0.1)
    # links are as specified at both, by the run's clock
    for summary in (first, second):
        assert summary["links"]["worst_median_error_ms"] < 0.5


def test_tcp_is_as_long_as_the_run_is(both: list[tuple[dict[str, Any], Path]]) -> None:
    (first, _), (second, _) = both
    assert second["tcp"]["congestion_control"] == "reno"
    for summary, least_ms in ((first, 200), (second, 400)):
        assert summary["tcp"]["least_timeout_ms"] == least_ms
        assert summary["tcp"]["shortest_timeout_ms"] >= least_ms - 10


def test_whatever_shows_a_number_says_the_dilation(both: list[tuple[dict[str, Any], Path]]) -> None:
    for summary, run in both:
        dilation = summary["clock"]["dilation"]
        said = f"dilation {dilation:g}"
        assert (f"DILATION {dilation:g}" in summary["stamps"]) == (dilation != 1)
        manifest = json.loads((run / "manifest.json").read_text())
        assert manifest["clock"]["dilation"] == dilation
        assert all(phase["began"] and phase["began_ns"] for phase in manifest["clock"]["phases"])
        ((_, head), *_) = blocks((run / "user0-target0.pcapng").read_bytes())
        comment = options(head[16:])[1].decode()
        assert comment.startswith(said) and "clock held" in comment


def test_a_capture_is_in_the_runs_time(both: list[tuple[dict[str, Any], Path]]) -> None:
    """Its span is the wall time from the capture's start to its end, by the dilation."""
    spans = []
    for _, run in both:
        times = []
        for kind, body in blocks((run / "user0-target0.pcapng").read_bytes()):
            if kind == 6:
                _, high, low = struct.unpack_from("=III", body)
                times.append(high << 32 | low)
        spans.append((max(times) - min(times)) / 1e9)
    phases = [sum(one["virtual_s"] for one in summary["clock"]["phases"]) for summary, _ in both]
    wall = [sum(one["wall_s"] for one in summary["clock"]["phases"]) for summary, _ in both]
    assert spans[1] >= phases[1] * 0.95
    assert spans[1] < spans[0] + (wall[1] - wall[0])


def test_contraction_is_a_run_too(tmp_path: Path) -> None:
    """At a half, without models: emulated time goes by in half of this machine's."""
    changes: dict[str, Any] = {"compute": {"models": "recorded"}, "policies": ["autoregressive", "speculative"]}
    changes |= {"place": {"user": "far", "target": "near"}}  # no short link: the bare path is twice as long, too
    path = experiment(tmp_path, **FEW, **changes, time={"dilation": 0.5})
    summary, _ = finished(path, tmp_path / "runs", "--fabric", "relay")
    assert summary["clock"]["dilation"] == 0.5
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == 4
    for phase in summary["clock"]["phases"]:
        assert phase["speed"] > 1
        assert phase["wall_s"] < phase["virtual_s"]
    assert summary["tcp"]["shortest_timeout_ms"] >= 90
