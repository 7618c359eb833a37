"""The tables of the documents, from the files of runs: `python -m testbed.results.markdown RUN_DIR... RESULT.json...`.

Rule kept: no figure in the documents is typed by hand. A folder is a run directory; a file is what `testbed calibrate
RUN --json` printed, and all of these share one table at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import BadInput
from testbed.files.reading import read_json, reading
from testbed.results.stamps import stamps
from testbed.results.store import RunDirectory, using

UNDEFINED = "-"
CALIBRATION = "a result of testbed calibrate --json"
POLICY_HEADINGS = (
    "policy", "TPOT ms", "TTFT ms", "e2e p95 ms", "tokens/round", "acceptance", "target-site drafts", "draft ratio",
    "latency ratio", "round overhead ms", "lossless", "valid", "fabric",
)  # fmt: skip
CALIBRATION_HEADINGS = (
    "experiment", "run", "policy", "tokens", "TPOT ms", "TPOT", "tokens/round", "e2e p95", "TPOT, explained",
    "e2e p95, explained", "requests",
)  # fmt: skip


def policy_table(run_dir: Path) -> str:
    """One row per policy: medians and ratios with their 95 % intervals in brackets."""
    directory = RunDirectory(run_dir)
    summary = directory.read_summary()
    compared = directory.read_rows("requests").dropna(subset="lossless")
    equal, checked = compared[compared["lossless"].eq(True)]["policy"].value_counts(), compared["policy"].value_counts()
    return _table(
        POLICY_HEADINGS,
        (
            (
                label,
                _statistic(metrics["tpot_ms"], 1),
                _statistic(metrics["ttft_ms"], 1, interval=False),
                _number(metrics["e2e_ms"] and metrics["e2e_ms"]["p95"], 0),
                _statistic(metrics["tokens_per_round"], 2, interval=False),
                _statistic(metrics["acceptance_rate"], 2, interval=False),
                _statistic(metrics["target_site_draft_passes"], 0, interval=False),
                _statistic(metrics["target_site_draft_ratio"], 2),
                _statistic(metrics["latency_ratio"], 2),
                _statistic(metrics["round_overhead_ms"], 2, interval=False),
                _lossless(equal.get(label, 0), checked.get(label, 0))
                + (" (not by choice)" if label in summary.get("not_lossless_by_choice", {}) else ""),
                "yes" if summary["validity"]["valid"] else "NO",
                summary["fabric"],
            )
            for label, metrics in summary["policies"].items()
        ),
    )


def calibration_table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row per policy of each result of `calibrate`: biases in percent of the emulated value, MAPE in brackets."""
    return _table(CALIBRATION_HEADINGS, (row for result in results for row in _calibrations(result)))


def title(run_dir: Path) -> str:
    """What the table below it belongs to, and its stamps: why it must not be used, if it must not."""
    summary = RunDirectory(run_dir).read_summary()
    where = f"{summary['engine']}, fabric {summary['fabric']}"
    stamped = "".join(f"\n**{one.title}**: {'; '.join(one.lines)}." for one in stamps(summary))
    return f"`{summary['experiment']}`, run `{summary['run_id']}`, {where}.{stamped}"


def _calibrations(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    differing = [entry["policy"] for entry in result["different_outputs"]]
    for label, metrics in result["policies"].items():
        explained = result["explained"]["policies"][label]
        tpot = metrics["tpot_ms"]
        tokens = f"{differing.count(label)} differ" if label in differing else "identical"
        yield (
            result["experiment"],
            f"`{result['run_id']}`",
            label,
            tokens if metrics["e2e_ms"]["n"] else UNDEFINED,
            f"{_number(tpot['emulated'], 2)} / {_number(tpot['simulated'], 2)}",
            *(_errors(metrics[name]) for name in ("tpot_ms", "tokens_per_round")),
            _errors(metrics["e2e_p95_ms"], mape=False),
            _errors(explained["tpot_ms"]),
            _errors(explained["e2e_p95_ms"], mape=False),
            str(metrics["e2e_ms"]["n"]),
        )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """GitHub's: the first column to the left, figures to the right."""
    aligned = [":--", *["--:"] * (len(headings) - 1)]
    lines = [headings, aligned, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _statistic(statistic: Mapping[str, Any] | None, places: int, interval: bool = True) -> str:
    if statistic is None:
        return UNDEFINED
    text = _number(statistic["median"] if "median" in statistic else statistic["value"], places)
    ends = statistic["ci95"] if interval else None
    return text if ends is None else f"{text} [{_number(ends[0], places)}, {_number(ends[1], places)}]"


def _errors(figures: Mapping[str, Any], mape: bool = True) -> str:
    if figures["bias"] is None:
        return UNDEFINED
    return f"{figures['bias']:+.2f} %" + (f" ({_number(figures['mape'], 2)})" if mape else "")


def _number(value: float | None, places: int) -> str:
    return UNDEFINED if value is None else f"{value:.{places}f}"


def _lossless(equal: Any, checked: int) -> str:
    return f"{int(equal)}/{checked}" if checked else "not compared"


def _result(file: Path) -> dict[str, Any]:
    return read_json(file, CALIBRATION, missing="give a run directory, or a result of testbed calibrate --json")


def main(arguments: Sequence[str]) -> int:
    paths = [Path(argument) for argument in arguments]
    try:
        if not paths:
            raise BadInput("no run given: python -m testbed.results.markdown RUN_DIR... RESULT.json...")
        folders, files = [path for path in paths if path.is_dir()], [path for path in paths if not path.is_dir()]
        with using(*folders):
            parts = [f"{title(path)}\n\n{policy_table(path)}" for path in folders]
        for path in files:
            with reading(path, CALIBRATION):
                calibration_table([_result(path)])
        results = [_result(path) for path in files]
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n\n".join([*parts, *([calibration_table(results)] if results else [])]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
