"""A Perfetto trace: what every node did, request by request, on one time line; https://ui.perfetto.dev opens it.

Nodes are Perfetto's processes. Below a user are its requests with the chunks that arrived, below a target the rounds,
below whoever runs a model its passes, and below a sender its messages, by receiver. What overlaps on one track goes on
a second one, as slices of a track must nest. Made with the `perfetto` package (extra `export`), whose protocol buffers
are Perfetto's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd

from testbed.errors import MachineCannot
from testbed.files.whole import replacing
from testbed.results.export.measured import Measured, each
from testbed.results.metrics.base import PASS

FILE = "run.perfetto-trace"
FIX = "pip install 'wan-testbed[export]'"
SEQUENCE = 1  # all packets are of one writer


class Slice(NamedTuple):
    start_ns: int
    end_ns: int
    name: str
    notes: Mapping[str, int | str]
    marks: Sequence[tuple[int, str]] = ()  # instants within it


class Track(NamedTuple):
    """A row of a node: its slices may overlap."""

    node: str
    name: str
    slices: list[Slice]


def write(run: Measured, folder: Path) -> Iterator[Path]:
    try:
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder
    except ImportError:
        raise MachineCannot(f"export perfetto: the package perfetto is not installed; {FIX}") from None
    path = folder / FILE
    with replacing(path) as partial:
        with partial.open("wb") as file:
            _write(StreamingTraceProtoBuilder(file), run, file)
    yield path


def tracks(run: Measured) -> list[Track]:
    """In the order in which they are shown."""
    data = run.data
    made = [Track(str(node), "requests", [*_requests(rows)]) for node, rows in data.requests.groupby("node")]
    made += [Track(str(node), "rounds", [*_rounds(rows)]) for node, rows in data.rounds.groupby("node")]
    passes = data.steps.assign(members=data.steps.groupby(PASS)["request"].transform("size")).drop_duplicates(PASS)
    made += [
        Track(str(node), f"{kind} passes", [*_passes(rows)]) for (node, kind), rows in passes.groupby(["node", "kind"])
    ]
    made += [
        Track(str(src), f"messages to {dst}", [*_messages(rows)])
        for (src, dst), rows in data.messages.groupby(["src", "dst"])
    ]
    return made


def lanes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices on as few rows as possible, so that none overlaps another of its row."""
    rows: list[list[Slice]] = []
    for one in sorted(slices, key=lambda one: (one.start_ns, one.end_ns)):
        row = next((row for row in rows if row[-1].end_ns <= one.start_ns), None)
        if row is None:
            rows.append([one])
        else:
            row.append(one)
    return rows


def _write(builder: Any, run: Measured, file: IO[bytes]) -> None:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

    processes = {node: number for number, node in enumerate(run.sites, start=1)}
    for node, pid in processes.items():
        packet = builder.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        described = packet.track_descriptor
        described.uuid = pid
        described.process.pid, described.process.process_name = pid, f"{node} ({run.sites[node]})"
        builder.write_packet(packet)
    uuid = len(processes)
    for track in tracks(run):
        for row in lanes(track.slices):
            uuid += 1
            packet = builder.create_packet()
            packet.trusted_packet_sequence_id = SEQUENCE
            described = packet.track_descriptor
            described.uuid, described.parent_uuid, described.name = uuid, processes[track.node], track.name
            builder.write_packet(packet)
            for one in row:
                _event(builder, uuid, TrackEvent.TYPE_SLICE_BEGIN, run.wall_ns(one.start_ns), one.name, one.notes)
                for at_ns, mark in one.marks:
                    _event(builder, uuid, TrackEvent.TYPE_INSTANT, run.wall_ns(at_ns), mark, {})
                _event(builder, uuid, TrackEvent.TYPE_SLICE_END, run.wall_ns(one.end_ns), "", {})


def _event(builder: Any, track: int, kind: int, at_ns: int, name: str, notes: Mapping[str, int | str]) -> None:
    packet = builder.create_packet()
    packet.trusted_packet_sequence_id = SEQUENCE
    packet.timestamp = at_ns
    event = packet.track_event
    event.type, event.track_uuid = kind, track
    if name:
        event.name = name
    for key, value in notes.items():
        note = event.debug_annotations.add()
        note.name = key
        if isinstance(value, str):
            note.string_value = value
        else:
            note.int_value = int(value)
    builder.write_packet(packet)


def _of_request(row: Any) -> dict[str, int | str]:
    return {"policy": row.policy, "repeat": row.repeat, "request": row.request}


def _requests(rows: pd.DataFrame) -> Iterator[Slice]:
    for row in each(rows):
        marks = [(at, f"{count} tokens") for at, count in zip(row.chunk_ns, row.chunk_tokens, strict=True)]
        notes = {**_of_request(row), "prompt": row.prompt_id, "output tokens": row.output_tokens}
        yield Slice(row.sent_ns, row.finished_ns, f"{row.policy} {row.request}", notes, marks)


def _rounds(rows: pd.DataFrame) -> Iterator[Slice]:
    for row in each(rows):
        notes = {**_of_request(row), "drafts": row.drafts, "remote drafts": row.remote_drafts, "accepted": row.accepted}
        name = f"{row.accepted} of {row.drafts} accepted" if row.drafts else "no drafts"
        yield Slice(row.started_ns, row.finished_ns, name, {**notes, "emitted": row.emitted})


def _passes(rows: pd.DataFrame) -> Iterator[Slice]:
    for row in each(rows):
        notes = {**_of_request(row), "tokens": row.tokens, "position": row.position, "members": row.members}
        yield Slice(row.started_ns, row.finished_ns, row.kind, notes)


def _messages(rows: pd.DataFrame) -> Iterator[Slice]:
    for row in each(rows):
        yield Slice(row.sent_ns, row.received_ns, row.kind, {**_of_request(row), "bytes": row.size_bytes})
