"""What `run` does for CI: `--assert` is read before the run and judged after it, `--retries` tries again what was not
valid, `--junit` says it all in a file. Thin: the rules are those of `results.assertions` and `results.junit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.output import note
from testbed.errors import AssertionsFailed, BadInput, MachineCannot, RunInvalid

if TYPE_CHECKING:
    from testbed.experiment.scenario import Scenario
    from testbed.results.assertions import Judgement
    from testbed.results.rundir import Outcome

Assertions = Annotated[
    list[str] | None,
    typer.Option(
        "--assert",
        metavar="ASSERTION",
        help="What must hold, as in 'wanspec.latency_ratio < 1.0 (95 %)'; repeatable. Else the exit status is 5.",
    ),
]
Retries = Annotated[int, typer.Option("--retries", min=0, help="Further attempts, after runs that are not valid.")]
Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write validity and assertions as JUnit XML.")
]


class Judged:
    """One call of `run`: what is asserted of it, how often it may be tried, and where to write what came of it."""

    def __init__(self, scenario: Scenario, texts: Sequence[str], retries: int, junit: Path | None) -> None:
        """Raises BadInput for assertions that do not fit the experiment, and for a file that cannot be written."""
        from testbed.results.assertions import Entry, parse_all

        self._experiment = scenario.name
        self._entries = [Entry(one.label, one.name) for one in scenario.policies]
        self._assertions = parse_all(texts, self._entries)
        self._retries = retries
        self._junit = junit
        self._earlier: list[str] = []
        if junit is not None and not junit.absolute().parent.is_dir():
            raise BadInput(f"--junit {junit}: no folder {junit.parent}; make it first")

    def run(self, attempt: Callable[[], Outcome]) -> tuple[Outcome, list[Judgement]]:
        """The outcome of the first attempt that is valid, or else of the last."""
        for left in range(self._retries, -1, -1):
            started = time.monotonic()
            try:
                outcome = attempt()
            except (RunInvalid, MachineCannot) as error:
                if left and isinstance(error, RunInvalid):
                    self._again(str(error), left)
                    continue
                self._write_unfinished(error, time.monotonic() - started)
                raise
            validity = outcome.summary["validity"]
            if validity["valid"] or not left:
                break
            self._again("; ".join(validity["reasons"]), left)
        from testbed.results.assertions import judge

        judgements = judge(self._assertions, outcome.summary, self._entries)
        self._write(outcome, judgements, time.monotonic() - started)
        return outcome, judgements

    def as_dict(self, judgements: Sequence[Judgement]) -> dict[str, Any]:
        """For `--json`; empty where nothing was asked."""
        found: dict[str, Any] = {"assertions": [one._asdict() for one in judgements]} if self._assertions else {}
        return found | ({"earlier_attempts": self._earlier} if self._retries else {})

    def status(self, outcome: Outcome, judgements: Sequence[Judgement]) -> int:
        """The exit status of `run`."""
        if not outcome.summary["validity"]["valid"]:
            return RunInvalid.exit_code
        return AssertionsFailed.exit_code if any(one.holds is False for one in judgements) else 0

    def _again(self, reason: str, left: int) -> None:
        self._earlier.append(reason)
        note(f"testbed: not valid: {reason}; trying again, {left} attempt{'' if left == 1 else 's'} left")

    def _write(self, outcome: Outcome, judgements: Sequence[Judgement], seconds: float) -> None:
        from testbed.results.junit import cases

        if self._junit is not None:
            summary = outcome.summary
            keys = ("run_id", "engine", "fabric", "nodes")
            properties = {key: str(summary[key]) for key in keys} | {"directory": str(outcome.directory)}
            self._put(cases(summary, judgements, seconds), properties)

    def _write_unfinished(self, error: Exception, seconds: float) -> None:
        from testbed.results.junit import unfinished

        if self._junit is not None:
            self._put(unfinished(error, [one.text for one in self._assertions], seconds), {})

    def _put(self, found: Any, properties: dict[str, str]) -> None:
        from testbed.files.whole import replacing
        from testbed.results.junit import document

        assert self._junit is not None
        with replacing(self._junit) as partial:
            partial.write_text(document(self._experiment, found, self._earlier, properties), encoding="utf-8")
