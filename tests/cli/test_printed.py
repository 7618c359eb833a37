"""What verbs print: nothing is cut, headings are the same at 80 columns and in a pipe, JSON has a version."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from testbed.cli import output
from testbed.cli.main import app
from testbed.cli.reference.commandline import verbs
from testbed.files.datafiles import PACKAGE
from testbed.results import compare_render
from testbed.results import table as run_table
from testbed.simulation import calibrate

ELSEWHERE = {"images", "runs"}  # they ask a container engine and a folder; see tests/containers, tests/results
LISTS = [words for one in verbs(app) if (words := one.name.split()[1:])[-1] == "list" and words[0] not in ELSEWHERE]
LONG = "a-policy-with-a-long-label"


def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> Callable[..., str]:
    def run(what: Callable[[], object]) -> str:
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        what()
        return capsys.readouterr().out

    return run


def headings(text: str) -> list[list[str]]:
    """Of each table, the words of every line of its headings, column by column."""
    lines, found = text.splitlines(), []
    for number, line in enumerate(lines):
        if re.fullmatch(r"\s*─+\s*", line):
            first = number
            while first and re.search(r"\s{2,}|^ ", lines[first - 1]):
                first -= 1
            found.append([word for one in lines[first:number] for word in one.split()])
    return found


def signs(text: str) -> Counter[str]:
    """How often it has each, whatever it is folded to."""
    return Counter(re.sub(r"[\s─│╭╮╰╯]", "", text))


def verb(words: list[str]) -> Callable[[], object]:
    return lambda: app([*words], standalone_mode=False)


def figures(keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys.split(), 12345.678) | {"n": 100}


def of_run() -> None:
    ratio = {"value": 1.23, "median": 1.23, "ci95": [1.21, 1.25], "p95": 1.4, "n": 48}
    milliseconds = {"median": 1234.5, "ci95": [1234.1, 1235.2], "p95": 12345.6, "n": 48}
    metrics = {
        **dict.fromkeys(["tpot_ms", "ttft_ms", "e2e_ms", "target_site_draft_passes"], milliseconds),
        **dict.fromkeys(["tokens_per_round", "acceptance_rate", "target_site_draft_ratio", "latency_ratio"], ratio),
    }
    summary = {
        "experiment": "an-experiment", "engine": "simulation", "run_id": "0123456789",
        "validity": {"valid": False, "reasons": ["a reason"]},
        "policies": {LONG: metrics}, "lossless": {"checked": 1, "equal": 1},
    }  # fmt: skip
    output.show(run_table.render(summary, [{"label": LONG, "name": "wanspec", "params": {}}]))


def of_compare() -> None:
    about = {"path": "runs/x", "experiment": "an-experiment", "run_id": "0123456789", "engine": "emulation",
             "fabric": "relay", "dilation": 1.0, "validity": {"valid": True, "reasons": []}}  # fmt: skip
    ratio = {"value": 12.345, "ci95": [12.3, 12.4]}
    one = {"base": 12345.678, "other": 12345.678, "ratio_of_medians": ratio, "median_of_ratios": ratio, "n": 100}
    policies = {LONG: {"metrics": {"target_site_draft_passes": one}}}
    compared = [{"run": about, "policies": policies, "only_in_one": []}]
    output.show(compare_render.render({"base": about, "comparisons": compared}))


def of_calibrate() -> None:
    one = figures("emulated simulated bias mape correlation")
    metrics = {"target_site_draft_passes": one}
    explained = {"overheads": {"job_ms": 0.1, "message_ms": 0.2}, "metrics": metrics, "policies": {LONG: metrics}}
    result = {"run_id": "0123456789", "tokens_identical": True, "explained": explained, "metrics": metrics,
              "policies": {LONG: metrics}}  # fmt: skip
    output.show(calibrate.render(result))


TABLES: dict[str, Callable[[], object]] = {
    **{" ".join(words): verb(words) for words in LISTS},
    "run": of_run,
    "compare": of_compare,
    "calibrate": of_calibrate,
}


@pytest.mark.parametrize("what", TABLES)
def test_headings_are_the_same_at_80_columns_and_in_a_pipe(
    what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = printed(capsys, monkeypatch, 80)(TABLES[what])
    piped = printed(capsys, monkeypatch, None)(TABLES[what])
    assert headings(narrow) == headings(piped) != []
    assert max(map(len, narrow.splitlines())) <= 80
    assert signs(narrow) == signs(piped), "something was cut"


def test_a_cell_that_is_too_long_goes_on_in_the_next_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> None:
        output.show(output.table("", [{"name": "x" * 100, "some_number": 1}]))

    narrow = printed(capsys, monkeypatch, 80)(made)
    assert narrow.count("x") == 100 and "number" in narrow
    assert "x" * 100 in printed(capsys, monkeypatch, None)(made)


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_the_json_of_every_list_has_a_version_and_named_rows(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    version, *lists = json.loads(done.stdout).items()
    assert version == ("schema_version", output.SCHEMA_VERSION)
    ((_, rows),) = lists
    assert isinstance(rows, list) and rows


def test_every_document_goes_through_one_function() -> None:
    """What prints JSON of its own would forget the version."""
    found = []
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                inside = [one for argument in node.args for one in ast.walk(argument)]
                if any(isinstance(one, ast.Attribute) and one.attr == "dumps" for one in inside):
                    found.append(path.name)
    assert found == [Path(output.__file__).name]
