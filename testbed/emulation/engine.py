"""Runs an experiment for real: inputs read, everything measured, results written and published.

Rule kept: the run directory appears under its final name only when the run has finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from testbed.emulation.inputs import Options as Options
from testbed.emulation.inputs import read
from testbed.emulation.lock import machine_lock
from testbed.emulation.measuring import Measured, measure
from testbed.emulation.writing import manifest_of, write_rows
from testbed.errors import BadInput, MachineCannot
from testbed.interrupt import taking_down
from testbed.network.journal import Journal
from testbed.progress import Progress
from testbed.results import manifest as provenance
from testbed.results.rundir import Outcome, partial_directory, publish
from testbed.results.store import RunDirectory, load
from testbed.results.summary import summarise
from testbed.results.validity import Counts
from testbed.scenario import Scenario


def run(scenario: Scenario, options: Options, progress: Progress) -> Outcome:
    """One emulated run. Raises BadInput, MachineCannot or RunInvalid; leaves nothing running whatever happens."""
    started = datetime.now(UTC)
    progress.note("reading inputs")
    inputs = read(scenario, options)
    with machine_lock(), _journal(inputs.run_id) as journal:
        partial = partial_directory(options.out, scenario.name, inputs.run_id, journal.result)
        before = provenance.gather(provenance.MOMENTS)
        measured = Measured()
        try:
            measure(inputs, options, partial, journal, progress, measured)
        except (BadInput, MachineCannot):
            if not measured.planned:
                shutil.rmtree(partial)  # nothing was run, so there is nothing to look at
            raise
        after = provenance.gather(provenance.MOMENTS)
        progress.note("comparing every output with target-only decoding")
        directory = RunDirectory(partial)
        mismatches = write_rows(directory, inputs, measured)
        manifest = {
            **manifest_of(inputs, started),
            **measured.facts,
            "mismatches": [mismatch._asdict() for mismatch in mismatches],
            "given_up": measured.given_up,
            "before": before,
            "after": after,
        }
        directory.write_manifest(manifest)
        counts = Counts(
            unmatched_packets=measured.counters.unmatched,
            requests_per_policy=scenario.workload.requests * scenario.repeats,
            dropped_packets=measured.counters.dropped,
            lost_packets=measured.counters.lost,
            cut_packets=measured.counters.cut,
            stale_messages=measured.stale_messages,
        )
        summary = summarise(load(partial), counts)
        directory.write_summary(summary)
        progress.note("drawing the report")
        from testbed.report import write_report  # matplotlib is slow to import; a run that fails early should not wait

        write_report(partial)
        return Outcome(publish(partial, options.out), summary, manifest)


@contextmanager
def _journal(run_id: str) -> Iterator[Journal]:
    """A journal that lasts until the results are published, so that what is left at any moment can be cleaned."""
    journal = Journal.for_run(run_id)
    try:
        yield journal
    finally:
        with taking_down():
            journal.undo()
            journal.close()
