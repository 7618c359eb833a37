"""One command for a paper: runs its sweeps and searches, computes every claim, draws every figure, writes the table.

Emulated values are read from committed summaries: an emulation takes hours and its own machine, so it is run
apart, with `testbed run` or `testbed sweep --engine emulation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from testbed.errors import BadInput
from testbed.files.reading import read_json, reading
from testbed.files.whole import check_folder, replacing
from testbed.report.style import drawing
from testbed.reproduce import drawing as claims_drawing
from testbed.reproduce import figures as claims_figures
from testbed.reproduce.claims import Claim, Claims, Figure, Value, load_claims
from testbed.reproduce.measured import measured
from testbed.reproduce.table import FILE, Found, Reproduction, markdown, put
from testbed.reproduce.value import Ours, compute, emulated
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.run import HEADLINE, SweepOptions, SweepOutcome, choose_metrics, run_sweep

RESULTS = "results"


def reproduce(name: str, out: Path, docs: Path, workers: int | None, progress: SweepProgress) -> Reproduction:
    """Raises BadInput for a claim that cannot be computed, before anything is written into the documents."""
    claims, folder = load_claims(name)
    _summaries(claims, docs)  # refuses before hours of simulation
    for place, option in ((out, "--out"), (docs, "--docs"), (docs / RESULTS / name, "--docs")):
        check_folder(place, option=option)
    options = SweepOptions(out=out, workers=workers)
    outcomes = {key: _sweep(claims, key, folder, options, progress) for key in claims.sweeps}
    tables = {key: outcome.table.to_pandas() for key, outcome in outcomes.items()}
    tables |= measured(claims, folder, options, progress)
    found = [
        Found(claim, value, compute(value, tables[claim.sweep]), _emulated(claim, value, docs))
        for claim in claims.claims
        for value in claim.values
    ]
    prompts = {key: one.prompts.to_pandas() for key, one in outcomes.items() if one.prompts is not None}
    figures = _figures(claims, tables, prompts, _names(outcomes), docs / RESULTS / name)
    result = Reproduction(
        name, claims, found, [path for _, path in figures], docs / FILE, all(one.valid for one in outcomes.values())
    )
    text = markdown(result, [(spec, str(path.relative_to(docs))) for spec, path in figures])
    put(docs / FILE, name, claims.title, text)
    return result


def _sweep(claims: Claims, key: str, folder: Path, options: SweepOptions, progress: SweepProgress) -> SweepOutcome:
    entry = claims.sweeps[key]
    progress.note(f"{key}: {entry.file}")
    per_prompt = any(one.kind == claims_figures.CDF and one.sweep == key for one in _panels(claims))
    sweep = load_sweep(folder / entry.file, entry.overrides)
    metrics = (*HEADLINE, *(choose_metrics(",".join(entry.metrics)) if entry.metrics else ()))
    return run_sweep(
        sweep, replace(options, per_prompt=per_prompt, intervals=entry.intervals, metrics=metrics), progress
    )


def _panels(claims: Claims) -> list[Figure]:
    return [panel for figure in claims.figures for panel in figure.each_panel()]


def _summaries(claims: Claims, docs: Path) -> None:
    for claim in claims.claims:
        for value in claim.values:
            _emulated(claim, value, docs)


def _emulated(claim: Claim, value: Value, docs: Path) -> Ours | None:
    said = value.emulation or claim.emulation
    if said is None:
        return None
    path = docs / said
    try:
        summary = read_json(path, "a summary of a run")
    except BadInput as error:
        raise BadInput(f"claims: {claim.id}: emulation: no run summary: {error}") from error
    with reading(path, "a summary of a run"):
        return emulated(value, summary)


def _names(outcomes: Mapping[str, SweepOutcome]) -> dict[str, str]:
    """Registered name by label, over all sweeps."""
    entries = (entry for one in outcomes.values() for point in one.points for entry in point.scenario.policies)
    return {entry.label: entry.name for entry in entries}


def _figures(
    claims: Claims,
    tables: Mapping[str, pd.DataFrame],
    prompts: Mapping[str, pd.DataFrame],
    names: Mapping[str, str],
    folder: Path,
) -> list[tuple[Figure, Path]]:
    """Draws all, then writes all: each as SVG, and its numbers as CSV beside it."""
    drawn = []
    for spec in claims.figures:
        with drawing(spec.name):
            data = claims_figures.numbers(spec, prompts if spec.kind == claims_figures.CDF else tables)
            figure = claims_drawing.draw(spec, data, names)
            path = folder / f"{spec.name}.svg"
            with replacing(path) as partial:
                figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None, "Title": spec.title})
        with replacing(path.with_suffix(".csv")) as partial:
            data.to_csv(partial, index=False, float_format="%.6g")
        drawn.append((spec, path))
    return drawn
