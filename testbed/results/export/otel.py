"""OpenTelemetry spans as OTLP JSON: a trace a request, as a tracing back end takes them (`/v1/traces`).

The root span is the request at its user; below it are the target's rounds, the passes of all nodes, and the messages.
A resource is a node. Attributes of the request follow OpenTelemetry's conventions for generative AI (`gen_ai.*`); ours
begin with `testbed.`. Messages are those of the package `opentelemetry-proto` (extra `export`); in OTLP's JSON ids are
hexadecimal and enumerations numbers, which is not protocol buffers' own JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.errors import MachineCannot
from testbed.files.datafiles import VERSION
from testbed.files.whole import replacing
from testbed.results.export.measured import REQUEST, Measured, each
from testbed.results.export.perfetto import FIX

FILE = "traces.json"
IDS = ("traceId", "spanId", "parentSpanId")
SCOPE = "wan-testbed"
Value = int | float | str


def write(run: Measured, folder: Path) -> Iterator[Path]:
    try:
        from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
    except ImportError:
        raise MachineCannot(f"export otel: the package opentelemetry-proto is not installed; {FIX}") from None
    path = folder / FILE
    with replacing(path) as partial:
        partial.write_text(json.dumps(as_json(filled(run, TracesData()))) + "\n", encoding="utf-8")
    yield path


def filled(run: Measured, traces: Any) -> Any:
    """An empty message, with the run's spans."""
    spans = _spans_by_node(run, traces)
    numbers: dict[tuple[Any, ...], int] = defaultdict(int)
    for kind, rows in _rows(run).items():
        for row in rows:
            request = tuple(row[key] for key in REQUEST)
            span = spans[row["node"]].add()
            number = 0 if kind == "request" else numbers[request] + 1
            numbers[request] = number
            span.trace_id, span.span_id = _id(16, run.run_id, *request), _id(8, run.run_id, *request, number)
            if kind != "request":
                span.parent_span_id = _id(8, run.run_id, *request, 0)
            span.name, span.kind = row["name"], row["kind"]
            span.start_time_unix_nano, span.end_time_unix_nano = run.wall_ns(row["start"]), run.wall_ns(row["end"])
            _put(span.attributes, row["attributes"])
    return traces


def as_json(message: Any) -> dict[str, Any]:
    """OTLP's JSON of a message."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    spans = (span for one in found["resourceSpans"] for scope in one["scopeSpans"] for span in scope.get("spans", ()))
    for span in spans:
        span.update({key: _hexadecimal(span[key]) for key in IDS if key in span})
    return found


def _hexadecimal(base64: str) -> str:
    from base64 import b64decode

    return b64decode(base64).hex()


def _spans_by_node(run: Measured, traces: Any) -> dict[str, Any]:
    """An empty list of spans for every node, whose resource it is."""
    found = {}
    for node, site in run.sites.items():
        resource_spans = traces.resource_spans.add()
        told = {"service.name": node, "service.namespace": run.experiment, "cloud.region": site}
        _put(resource_spans.resource.attributes, {**told, "testbed.run_id": run.run_id})
        scope = resource_spans.scope_spans.add()
        scope.scope.name, scope.scope.version = SCOPE, VERSION
        found[node] = scope.spans
    return found


def _rows(run: Measured) -> dict[str, Iterator[dict[str, Any]]]:
    """By kind, requests first."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    data, model = run.data, run.data.manifest["models"]["target"]["name"]

    def row(
        one: Any, node: str, name: str, kind: int, start: int, end: int, told: Mapping[str, Value]
    ) -> dict[str, Any]:
        attributes = {f"testbed.{key}": getattr(one, key) for key in REQUEST} | dict(told)
        places = {key: getattr(one, key) for key in REQUEST}
        return {
            **places,
            "node": node,
            "name": name,
            "kind": kind,
            "start": start,
            "end": end,
            "attributes": attributes,
        }

    return {
        "request": (
            row(one, one.node, f"chat {model}", Span.SPAN_KIND_CLIENT, one.sent_ns, one.finished_ns, {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": model,
                "gen_ai.usage.input_tokens": one.prompt_tokens,
                "gen_ai.usage.output_tokens": one.output_tokens,
                "testbed.first_token_ms": (one.first_token_ns - one.sent_ns) / 1e6,
            })
            for one in each(data.requests)
        ),
        "round": (
            row(one, one.node, "round", Span.SPAN_KIND_SERVER, one.started_ns, one.finished_ns, {
                "testbed.drafts": one.drafts, "testbed.accepted": one.accepted, "testbed.emitted": one.emitted,
            })
            for one in each(data.rounds)
        ),
        "pass": (
            row(one, one.node, f"{one.kind} pass", Span.SPAN_KIND_INTERNAL, one.started_ns, one.finished_ns, {
                "testbed.tokens": one.tokens, "testbed.batch": one.batch,
            })
            for one in each(data.steps)
        ),
        "message": (
            row(one, one.src, f"{one.kind} to {one.dst}", Span.SPAN_KIND_PRODUCER, one.sent_ns, one.received_ns, {
                "testbed.bytes": one.size_bytes,
            })
            for one in each(data.messages)
        ),
    }  # fmt: skip


def _put(attributes: Any, values: Mapping[str, Value]) -> None:
    for key, value in values.items():
        one = attributes.add()
        one.key = key
        if isinstance(value, str):
            one.value.string_value = value
        elif isinstance(value, float):
            one.value.double_value = value
        else:
            one.value.int_value = int(value)


def _id(size: int, *parts: object) -> bytes:
    """The same for the same run, so that exporting twice makes the same file."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:size]
