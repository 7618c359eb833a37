"""The verbs about loads: list, show, fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli.main import app
from testbed.errors import BadInput
from testbed.workload.load.source import load_load


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_and_show_say_what_there_is() -> None:
    rows = json.loads(run("loads", "list", "--json"))["loads"]
    assert {"azure-2023-conv", "burstgpt"} <= {row["name"] for row in rows}
    found = json.loads(run("loads", "show", "azure-2023-conv", "--json"))
    assert found["figures"]["input_p50"] == 1020 and found["lengths"]["output"]["50"] == 129
    mean = sum(found["requests_per_s_over_time"]) / len(found["requests_per_s_over_time"])
    assert mean == pytest.approx(found["requests_per_s"], rel=1e-3) and mean == pytest.approx(5.53, rel=0.01)


def test_show_draws_the_load_and_names_its_source() -> None:
    text = run("loads", "show", "azure-2024-code")
    assert "█" in text and "▁" in text and "CC BY 4.0" in text and "168 h" in text


def test_a_trace_is_shown_and_fitted(tmp_path: Path) -> None:
    trace, out = tmp_path / "mine.csv", tmp_path / "mine.yaml"
    rows = [f"{number * 0.5 + (number % 3) * 0.1:.2f},{10 + number % 40},{1 + number % 7}" for number in range(240)]
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    shown = json.loads(run("loads", "show", str(trace), "--json"))
    assert shown["kind"] == "trace, other" and shown["figures"]["requests"] == 240
    assert f"{out}\n" in run("loads", "fit", str(trace), "--out", str(out), "--licence", "CC0")
    made = load_load(str(out))
    assert made.as_manifest()["source"]["licence"] == "CC0"
    assert len(list(made.requests(1, 0.0, made.seconds))) == pytest.approx(240, rel=0.05)
    with pytest.raises(BadInput, match="give it that suffix"):
        CliRunner().invoke(app, ["loads", "fit", str(trace), "--out", "x.yml"], catch_exceptions=False)
