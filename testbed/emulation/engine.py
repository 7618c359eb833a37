"""Runs an experiment with real models and packets: reads inputs, measures, writes and publishes results.

Rule kept: the run directory appears under its final name only when the run has finished.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from testbed.containers.removal import remove_named
from testbed.emulation import stages
from testbed.emulation.inputs import Inputs, read
from testbed.emulation.inputs import Options as Options
from testbed.emulation.lock import elsewhere, machine_lock
from testbed.emulation.measuring import Measured, measure
from testbed.emulation.writing import manifest_of, write_rows
from testbed.errors import BadInput, MachineCannot
from testbed.experiment.again import write_experiment
from testbed.experiment.progress import Progress
from testbed.experiment.scenario import Scenario
from testbed.files.whole import blame_disk
from testbed.results import manifest as provenance
from testbed.results.forecast import beside
from testbed.results.room import needed
from testbed.results.rundir import Attempt, Outcome, attempting, new_attempt, publish
from testbed.results.store import FILES, RunDirectory, load
from testbed.results.summary import summarise
from testbed.results.validity import Counts
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal


def run(scenario: Scenario, options: Options, progress: Progress) -> Outcome:
    """One emulated run. Raises BadInput, MachineCannot or RunInvalid; leaves nothing running whatever happens."""
    started = datetime.now(UTC)
    with _attempting(scenario, options, progress) as (inputs, measured, attempt, known, journal):
        measure(inputs, options, attempt.partial, journal, progress, measured)
        return _results(inputs, measured, {**manifest_of(inputs, started), **known}, attempt, progress)


def plan(scenario: Scenario, options: Options, progress: Progress) -> Mapping[str, Any]:
    """The first step of such a run, without the others: what it is expected to be like here (`planning`).

    Raises MachineCannot where nothing fits, and what a run would; no run directory stays.
    """
    existed = options.out.exists()
    with _attempting(scenario, options, progress) as (inputs, measured, attempt, _, journal):
        measure(inputs, options, attempt.partial, journal, progress, measured, plan_only=True)
        attempt.discard()
    if not existed:
        with contextlib.suppress(OSError):  # somebody else's run is in there now
            options.out.rmdir()
    assert measured.plan is not None, "a plan was asked for"
    return measured.plan


@contextmanager
def _attempting(
    scenario: Scenario, options: Options, progress: Progress
) -> Iterator[tuple[Inputs, Measured, Attempt, dict[str, Any], Journal]]:
    """Inputs read, the machine locked, a folder to work in; says where partial results lie when something fails."""
    measured = Measured()
    progress.note("reading inputs")
    inputs = read(scenario, options, progress.note)
    name = new_attempt(inputs.run_id)
    room = needed(scenario, "emulation")
    with (
        machine_lock(),
        _journal(name) as journal,
        attempting(options.out, scenario.name, inputs.run_id, room, name, journal.result) as attempt,
    ):
        before = provenance.gather(provenance.MOMENTS)
        if others := elsewhere():
            progress.note(f"{', '.join(others)}: another emulation seems to run; both share the cores")
        try:
            known = {"attempt": name, "before": before, "emulations_of_others": len(others)}
            yield inputs, measured, attempt, known, journal
        except BaseException as error:
            if isinstance(error, BadInput | MachineCannot) and not measured.planned:
                attempt.discard()  # nothing was run, so there is nothing to look at
            else:
                progress.note(f"partial results are in {attempt.partial}; testbed runs prune removes them")
            if isinstance(error, Exception):
                blame_disk(options.out, error)
            raise


def _results(
    inputs: Inputs, measured: Measured, facts: dict[str, Any], attempt: Attempt, progress: Progress
) -> Outcome:
    """Everything written, drawn and published."""
    scenario = inputs.scenario
    after = provenance.gather(provenance.MOMENTS)
    measured.stages.begin(stages.CHECK)
    progress.note("comparing every output with target-only decoding")
    directory = RunDirectory(attempt.partial)
    mismatches = write_rows(directory, inputs, measured)
    manifest = {
        **facts,
        **measured.facts,
        "mismatches": [mismatch._asdict() for mismatch in mismatches],
        "given_up": measured.given_up,
        **({"tree_lookups": lookups} if (lookups := measured.tree_lookups()) else {}),
        **({} if measured.plan is None else {"plan": dict(measured.plan)}),
        "after": after,
    }
    measured.stages.begin(stages.REPORT)
    directory.write_manifest(manifest)
    counts = Counts(
        unmatched_packets=measured.counters.unmatched,
        requests_per_policy=scenario.workload.requests * scenario.repeats,
        dropped_packets=measured.counters.dropped,
        lost_packets=measured.counters.lost,
        cut_packets=measured.counters.cut,
        stale_messages=measured.stale_messages,
    )
    data = load(attempt.partial)  # what is on disk is what is summarised and drawn
    summary = summarise(data, counts)
    if (plan := beside(manifest, summary, measured.stages.seconds())) is not None:
        summary["plan"] = plan  # the page is a part of the run, too, so that its time is not known yet
    progress.note("drawing the report")
    from testbed.report import write_page  # matplotlib is slow to import; a run that fails early should not wait

    report = write_page(directory, data, summary)
    summary["timings"] = measured.stages.seconds()
    if plan is not None:
        summary["plan"] = beside(manifest, summary, summary["timings"])
    directory.write_summary(summary)  # last: it says that all else is there
    progress.note(stages.said(summary["timings"]))
    again = write_experiment(attempt.partial, scenario.resolved(), "emulation", inputs.run_id)
    return Outcome(publish(attempt, (*FILES, report.name, again.name)), summary, manifest)


@contextmanager
def _journal(attempt: str) -> Iterator[Journal]:
    """A journal that lasts until the results are published, so that what is left at any moment can be cleaned."""
    journal = Journal.for_run(attempt)
    try:
        yield journal
    finally:
        with taking_down():
            journal.undo(remove_named)
            journal.close()
