"""What an emulated run leaves in its directory: the rows of its tables, and the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from testbed.emulation.inputs import Inputs
from testbed.emulation.measuring import Measured
from testbed.emulation.mismatches import Mismatch, first_difference
from testbed.emulation.rowlogs import RowLog
from testbed.experiment.compute import LIVE, RECORDED
from testbed.nodes.rowfile import Row
from testbed.results import manifest as provenance
from testbed.results.records import RequestRow
from testbed.results.sampling import sampling_of
from testbed.results.store import RunDirectory


def write_rows(directory: RunDirectory, inputs: Inputs, measured: Measured) -> list[Mismatch]:
    """Compares every output with target-only decoding on the way; returns which differ, for the manifest."""
    scenario = inputs.scenario
    sampled = scenario.workload.sampling.temperature > 0
    law_only = frozenset(
        entry.label for entry in scenario.policies if sampled and entry.params.get("draft") == "sampled"
    )
    recorded: list[RequestRow] = []
    planned = {one.request: one for repeat, first in measured.planned for one in inputs.plan(first, repeat)}
    directory.write_tables(["rounds", "steps", "messages"], _others(measured.logs, recorded))
    if inputs.recorded is not None:
        outputs = {number: inputs.recorded.expected(one) for number, one in planned.items()}
        requests, mismatches = as_recorded(recorded, outputs)
    else:
        from testbed.emulation.lossless import compare  # models: only now, so that they share no core with the run

        requests, mismatches = compare(scenario.models.target, recorded, planned, law_only)
    directory.write_rows("requests", requests)
    directory.write_rows("links", measured.links)
    if measured.replay:
        directory.write_rows("replay", measured.replay)
    if any(log.rows for log in measured.probes):
        directory.write_tables(["probes"], (row for log in measured.probes for row in log))
    for log in [*measured.logs, *measured.probes]:
        log.path.unlink()
    return mismatches


def as_recorded(
    rows: Sequence[RequestRow], outputs: Mapping[int, tuple[int, ...]]
) -> tuple[list[RequestRow], list[Mismatch]]:
    """The rows with `lossless` filled in: whether the output is the recorded one. No model ran, so no gap is known."""
    compared = [replace(row, lossless=row.tokens == outputs[row.request]) for row in rows]
    differing = [(row, outputs[row.request]) for row in compared if not row.lossless]
    return compared, [
        Mismatch(row.policy, row.request, row.prompt_id, first_difference(row.tokens, output), None)
        for row, output in differing
    ]


def _others(logs: Sequence[RowLog], requests: list[RequestRow]) -> Iterator[Row]:
    """All rows but those of requests, which are put aside."""
    for row in (row for log in logs for row in log):
        if isinstance(row, RequestRow):
            requests.append(row)
        else:
            yield row


def manifest_of(inputs: Inputs, started: datetime) -> dict[str, Any]:
    """What does not depend on how the run went; `started` in UTC."""
    scenario = inputs.scenario
    where = {"place": scenario.place.model_dump(mode="json"), "target_drafter_rtt_ms": _target_drafter_rtt_ms(inputs)}
    return {
        "run_id": inputs.run_id,
        **inputs.experiment.facts(),
        "engine": "emulation",
        "nodes": inputs.nodes.name,
        "nodes_reason": inputs.nodes.reason,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "policies": [{**entry.facts(), **where} for entry in scenario.policies],
        "models": {
            role: {"name": name, "sha256": inputs.model_hashes[role]}
            for role, name in scenario.models.model_dump().items()
        },
        "sampling": sampling_of(scenario.resolved()),
        **_real(inputs),
        "paced": [role for role, name in scenario.devices.model_dump().items() if name != "native"],
        "machine": provenance.gather(),
    }


def _real(inputs: Inputs) -> dict[str, Any]:
    if inputs.recorded is None:
        return {"compute_models": LIVE, "real": "tokens, acceptance, framing, TCP, processes"}
    table = inputs.recorded.table
    return {
        "compute_models": RECORDED,
        "real": "framing, TCP, processes; tokens and acceptance as recorded in the decode table",
        "table": {"name": table.name, "sha256": table.sha256, "synthetic": table.synthetic},
    }


def _target_drafter_rtt_ms(inputs: Inputs) -> float | None:
    """RTT between the target's site and the drafters'; None without drafters, or with either at several sites."""
    sites: dict[str, set[str]] = {}
    for role, site in inputs.scenario.place.nodes().values():
        sites.setdefault(role, set()).add(site)
    if len(sites.get("drafter", ())) != 1 or len(sites["target"]) != 1:
        return None
    return inputs.experiment.topology.rtt_ms(*sites["target"], *sites["drafter"])
