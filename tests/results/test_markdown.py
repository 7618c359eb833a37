"""The documents' tables: valid markdown, every figure from the files, and a run that is not valid is told as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.results.markdown import CALIBRATION_HEADINGS, POLICY_HEADINGS, calibration_table, main, policy_table
from testbed.results.store import RunDirectory
from testbed.results.summary import summarise
from tests.results.tiny_log import COUNTS, Rows, altered, rows, run


def written(path: Path, changed: Rows | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(path)
    directory.write_summary(summarise(run(changed), COUNTS))
    directory.write_rows("requests", {**rows(), **(changed or {})}["requests"])
    return path


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a markdown table by heading; every line must have as many cells as the heading."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_policy_table_has_a_row_a_policy_with_the_summary_s_figures(tmp_path: Path) -> None:
    directory = RunDirectory(written(tmp_path))
    summary = directory.read_summary()
    summary["policies"]["speculative"]["target_site_draft_ratio"]["ci95"] = [0.875, 1.5]
    directory.write_summary(summary)
    found = {row["policy"]: row for row in cells(policy_table(tmp_path))}
    assert list(found) == ["autoregressive", "speculative", "wanspec"]
    row = found["speculative"]
    assert tuple(row) == POLICY_HEADINGS
    assert row["draft ratio"] == "1.00 [0.88, 1.50]"
    assert (row["TPOT ms"], row["TTFT ms"], row["target-site drafts"]) == ("5.0", "18.0", "3")
    assert (row["round overhead ms"], row["lossless"], row["valid"], row["fabric"]) == ("1.00", "2/2", "yes", "relay")
    assert found["autoregressive"]["acceptance"] == "-", "undefined is a dash, never zero"


def test_losslessness_is_the_policy_s_own_and_a_run_that_is_not_valid_says_so_in_every_row(tmp_path: Path) -> None:
    found = {
        row["policy"]: row for row in cells(policy_table(written(tmp_path, altered("requests", 4, lossless=False))))
    }
    assert (found["wanspec"]["lossless"], found["speculative"]["lossless"]) == ("1/2", "2/2")
    assert {row["valid"] for row in found.values()} == {"NO"}


def test_outputs_that_were_not_compared_are_not_counted_as_equal(tmp_path: Path) -> None:
    found = cells(policy_table(written(tmp_path, altered("requests", 4, lossless=None))))
    assert found[2]["lossless"] == "1/1"


def calibration(**changed: Any) -> dict[str, Any]:
    def figures(bias: float | None) -> dict[str, Any]:
        one = {"emulated": 20.0, "simulated": 19.8, "mape": 1.5, "bias": bias, "correlation": 0.99, "n": 40}
        return dict.fromkeys(("tpot_ms", "tokens_per_round", "e2e_ms", "e2e_p95_ms"), one)

    return {
        "run_id": "tiny", "experiment": "by-hand", "different_outputs": [],
        "policies": {"wanspec": figures(-1.0), "speculative": figures(None)},
        "explained": {"policies": {"wanspec": figures(0.25), "speculative": figures(None)}}, **changed,
    }  # fmt: skip


def test_calibration_table_has_a_row_a_policy_of_each_result() -> None:
    found = cells(calibration_table([calibration(), calibration(experiment="other")]))
    assert tuple(found[0]) == CALIBRATION_HEADINGS
    assert [row["experiment"] for row in found] == ["by-hand", "by-hand", "other", "other"]
    assert (found[0]["TPOT ms"], found[0]["TPOT"], found[0]["TPOT, explained"]) == (
        "20.00 / 19.80", "-1.00 % (1.50)", "+0.25 % (1.50)",
    )  # fmt: skip
    assert found[0]["e2e p95"] == "-1.00 %" and found[1]["TPOT"] == "-"


def test_differing_tokens_are_told_beside_the_policy_they_belong_to() -> None:
    differing = [{"policy": "wanspec", "repeat": 0, "prompt": "a", "output_position": 3}]
    found = cells(calibration_table([calibration(different_outputs=differing)]))
    assert [row["tokens"] for row in found] == ["1 differ", "identical"]


def test_command_prints_each_run_and_then_one_calibration_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(calibration()))
    bad = written(tmp_path / "bad", altered("requests", 4, lossless=False))
    assert main([str(tmp_path / "result.json"), str(written(tmp_path / "run")), str(bad)]) == 0
    out = capsys.readouterr().out
    assert out.count("`by-hand`, run `tiny`, emulation, fabric relay.") == 2
    assert "**NOT VALID**: wanspec: 1 of its outputs differ" in out
    assert out.rstrip().endswith(calibration_table([calibration()]))


@pytest.mark.parametrize("arguments", [[], ["no-such-file"]])
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
