"""Exports, against numbers worked out by hand from the tiny log, and against the formats' own schemas."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from testbed.cli.export import Format
from testbed.cli.main import app
from testbed.errors import BadInput
from testbed.results.export import aiperf, otel, perfetto, vllm
from testbed.results.export.equivalents import EQUIVALENTS
from testbed.results.export.measured import SIMULATED_NS, Measured
from testbed.results.export.write import FORMATS, export
from testbed.results.metrics import REGISTRY
from testbed.results.store import RunDirectory
from testbed.results.summary import summarise
from tests.results.tiny_log import COUNTS, POLICIES, rows, run

MODELS = {"target": {"name": "big"}, "draft": {"name": "small"}}
SENT_NS = 1_000_000_000  # of the first request, on the run's clock


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A finished run with the tiny log."""
    made = RunDirectory(tmp_path / "run")
    made.path.mkdir()
    found = run(models=MODELS)
    for kind, of_kind in rows().items():
        made.write_rows(kind, of_kind)
    made.write_manifest(found.manifest)
    made.write_summary(summarise(found, COUNTS))
    return made.path


@pytest.fixture
def measured(directory: Path) -> Measured:
    return Measured.of(directory)


def test_the_command_line_offers_every_format() -> None:
    assert [one.value for one in Format] == [*FORMATS]


def test_every_equivalent_is_of_a_metric_of_ours() -> None:
    assert EQUIVALENTS.keys() <= REGISTRY.keys()


def test_csv_has_every_table_and_metric(directory: Path, tmp_path: Path) -> None:
    written = {path.stem: pd.read_csv(path) for path in export(directory, "csv", tmp_path / "out")}
    assert {kind: len(written[kind]) for kind in rows()} == {kind: len(of_kind) for kind, of_kind in rows().items()}
    first = rows()["requests"][2]
    assert written["requests"].loc[2, "chunk_ns"] == " ".join(map(str, first.chunk_ns))
    mine = written["metrics"][written["metrics"]["policy"] == "speculative"]
    assert mine[mine["metric"] == "tpot_ms"]["value"].tolist() == [5.0]
    positions = mine[mine["metric"] == "acceptance_by_position"]
    assert positions["at"].astype(int).tolist() == [1, 2] and positions["n"].tolist() == [3, 2]


def test_aiperf_records_by_hand(measured: Measured) -> None:
    long, short = aiperf.records(measured, "speculative")
    assert {name: one["value"] for name, one in long["metrics"].items()} == {
        "request_latency": 32.0, "time_to_first_token": 17.0, "inter_token_latency": 5.0, "inter_chunk_latency": [15.0],
        "input_sequence_length": 10, "output_sequence_length": 4, "output_token_count": 4,
        "output_token_throughput_per_user": 200.0, "spec_decode_steps": 2, "spec_decode_draft_tokens": 4,
        "spec_decode_accepted_draft_tokens": 3, "spec_decode_acceptance_length": 2.5,
        "spec_decode_draft_acceptance_rate": 75.0,
    }  # fmt: skip
    # one token in one chunk: neither a time per token nor a gap
    assert {"inter_token_latency", "inter_chunk_latency", "output_token_throughput_per_user"} & {
        *short["metrics"]
    } == set()
    assert long["metadata"]["request_end_ns"] - long["metadata"]["request_start_ns"] == 32_000_000
    assert not any(name.startswith("spec") for name in next(aiperf.records(measured, "autoregressive"))["metrics"])


def test_vllm_by_hand(measured: Measured) -> None:
    found = vllm.result(measured, "speculative")
    expected = {
        "duration": 0.119, "completed": 2, "total_input_tokens": 20, "total_output_tokens": 5,
        "request_throughput": 2 / 0.119, "output_throughput": 5 / 0.119, "mean_ttft_ms": 18.0, "std_ttft_ms": 1.0,
        "p99_ttft_ms": 18.98, "median_tpot_ms": 5.0, "mean_itl_ms": 15.0, "mean_e2el_ms": 25.5,
        "spec_decode_num_drafts": 3, "spec_decode_draft_tokens": 6, "spec_decode_accepted_tokens": 3,
        "spec_decode_acceptance_rate": 50.0, "spec_decode_acceptance_length": 2.0,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["spec_decode_per_position_acceptance_rates"] == pytest.approx([2 / 3, 1 / 3])
    assert found["itls"] == [[pytest.approx(0.015)], []] and found["ttfts"] == pytest.approx([0.017, 0.019])
    assert "spec_decode_num_drafts" not in vllm.result(measured, "autoregressive")


def test_ours_and_theirs_agree_where_no_difference_is_said(measured: Measured) -> None:
    summary = measured.summary["policies"]
    for label in POLICIES:
        theirs = vllm.result(measured, label)
        for tag in ("ttft_ms", "tpot_ms", "chunk_gap_ms", "e2e_ms"):
            assert theirs[f"median_{EQUIVALENTS[tag].vllm}_ms"] == pytest.approx(summary[label][tag]["median"])


def test_a_simulation_has_no_time_of_day(measured: Measured) -> None:
    assert measured.wall_ns(SENT_NS) == SIMULATED_NS
    emulated = Measured(run(models=MODELS, started="2026-01-02T03:04:05+00:00"), measured.summary)
    assert emulated.wall_ns(SENT_NS + 7) == 1767323045 * 10**9 + 7


def _trace(measured: Measured, folder: Path) -> Any:
    pytest.importorskip("perfetto", reason="perfetto is not installed")
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    (path,) = perfetto.write(measured, folder)
    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


def test_perfetto_has_every_row_and_its_slices_nest(measured: Measured, tmp_path: Path) -> None:
    trace = _trace(measured, tmp_path)
    described = {
        one.track_descriptor.uuid: one.track_descriptor for one in trace.packet if one.HasField("track_descriptor")
    }
    assert {one.process.process_name for one in described.values() if one.HasField("process")} == {
        "user0 (east)", "target0 (east)", "drafter0 (west)",
    }  # fmt: skip
    open_at: dict[int, int] = {}
    slices: Counter[str] = Counter()
    instants = 0
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event, track = packet.track_event, packet.track_event.track_uuid
        if event.type == event.TYPE_SLICE_BEGIN:
            assert track not in open_at, "a slice begins within another of its track"
            open_at[track] = packet.timestamp
            slices[described[track].name] += 1
        elif event.type == event.TYPE_SLICE_END:
            assert open_at.pop(track) <= packet.timestamp
        else:
            assert open_at[track] <= packet.timestamp
            instants += 1
    log = rows()
    assert open_at == {}
    assert (slices["requests"], slices["rounds"]) == (len(log["requests"]), len(log["rounds"]))
    assert slices["verify passes"] + slices["draft passes"] == len(log["steps"])
    assert sum(count for name, count in slices.items() if name.startswith("messages")) == len(log["messages"])
    assert instants == sum(len(one.chunk_ns) for one in log["requests"])


def test_what_overlaps_is_put_on_rows_of_its_own() -> None:
    draws = np.random.default_rng(1).integers(0, 50, size=(200, 2))
    slices = [perfetto.Slice(int(start), int(start + length), "", {}) for start, length in draws]
    made = perfetto.lanes(slices)
    assert sorted(one for row in made for one in row) == sorted(slices)
    assert all(one.end_ns <= after.start_ns for row in made for one, after in pairwise(row))


def test_otel_is_the_json_of_its_protocol_buffers(measured: Measured, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    (path,) = otel.write(measured, tmp_path)
    document = json.loads(path.read_text())
    spans = [span for one in document["resourceSpans"] for span in one["scopeSpans"][0].get("spans", ())]
    log = rows()
    assert len(spans) == sum(len(log[kind]) for kind in ("requests", "rounds", "steps", "messages"))
    traces = defaultdict(list)
    for span in spans:
        assert len(bytes.fromhex(span["traceId"])) == 16 and len(bytes.fromhex(span["spanId"])) == 8
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        traces[span["traceId"]].append(span)
    assert len(traces) == len(log["requests"])
    for of_one in traces.values():
        ids = [span["spanId"] for span in of_one]
        (root,) = (span for span in of_one if "parentSpanId" not in span)
        assert len({*ids}) == len(ids) and root["name"] == "chat big"
        assert {span["parentSpanId"] for span in of_one if span is not root} <= {root["spanId"]}
    for span in spans:  # back into protocol buffers' own JSON
        span.update({key: base64.b64encode(bytes.fromhex(span[key])).decode() for key in otel.IDS if key in span})
    assert ParseDict(document, TracesData()) == otel.filled(measured, TracesData())


def test_what_cannot_be_exported_is_said_in_a_line(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(BadInput, match="finished run directory"):
        export(tmp_path, "csv")
    with pytest.raises(BadInput, match="no format 'vlm'; did you mean 'vllm'"):
        export(directory, "vlm")
    (tmp_path / "a file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        export(directory, "csv", tmp_path / "a file" / "below")


def test_the_verb_names_what_it_wrote(directory: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(directory), "--format", "vllm"])
    assert done.exit_code == 0, done.output
    assert [Path(line) for line in done.stdout.splitlines()] == [
        directory / "exports" / "vllm" / f"{label}.json" for label in POLICIES
    ]
    done = CliRunner().invoke(app, ["export", str(directory), "--to", "aiperf", "--json"])
    assert len(json.loads(done.stdout)["files"]) == len(POLICIES)
    assert RunDirectory(directory).sealed
