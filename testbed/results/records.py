"""The event log: what both engines write while a run goes on, one struct a row, one parquet file a kind.

Times are nanoseconds on one monotonic clock per run (CLOCK_MONOTONIC in emulation, virtual time in simulation).
"""

from __future__ import annotations

import msgspec


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """One forward pass of one model at one node, as one request took part in it: steps.parquet.

    A pass over one request is one row. A batched pass is one row for each of its `batch` members, with the member's
    position and tokens and the pass's job and times: passes are counted by `testbed.results.metrics.base.passes`.
    """

    policy: str
    repeat: int
    node: str
    site: str
    model: str  # "target" or "draft"
    request: int
    job: int
    kind: str  # "draft" or "verify"
    submitted_ns: int  # when the policy asked for it
    started_ns: int  # when the emulated device took it up
    finished_ns: int  # when the emulated device was done (what the policy sees)
    paced_ms: float  # what the device profile says; 0 for `native`
    real_ms: float  # what the real forward pass took
    overrun_ms: float  # how much later than the profile the result was there; 0 when in time
    position: int  # cached tokens before the pass
    tokens: int  # tokens fed
    batch: int = 1  # requests in the pass
    alone_ms: float = 0.0  # of a batch's member: what the profile says for a pass of its own


class Round(msgspec.Struct, frozen=True, array_like=True, tag="round"):
    """One draft-then-verify round, seen at the target: rounds.parquet."""

    policy: str
    repeat: int
    node: str
    request: int
    index: int  # 0 is the first round of the request
    position: int  # absolute position of the first token it emitted
    drafts: int
    remote_drafts: int
    accepted: int
    emitted: int  # after cutting at the length limit or end of sequence
    started_ns: int  # end of the previous round, or the request's arrival at the target
    verify_submitted_ns: int
    finished_ns: int


class RequestRow(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """One request as its user saw it: requests.parquet."""

    policy: str
    repeat: int
    node: str
    request: int
    prompt_id: str
    prompt_tokens: int
    output_tokens: int
    scheduled_ns: int
    sent_ns: int
    first_token_ns: int
    finished_ns: int
    chunk_ns: tuple[int, ...]  # arrival of each chunk
    chunk_tokens: tuple[int, ...]  # tokens in each chunk
    tokens: tuple[int, ...]  # the output itself
    lossless: bool | None  # equal to target-only decoding; None: not compared
    slo_tokens_per_s: float | None = None  # the rate its user was promised; None: none was


class MessageRow(msgspec.Struct, frozen=True, array_like=True, tag="message"):
    """One message on the wire: messages.parquet."""

    policy: str
    repeat: int
    request: int
    kind: str
    src: str
    dst: str
    sent_ns: int
    received_ns: int
    size_bytes: int  # framed
    tokens: int


class LinkRow(msgspec.Struct, frozen=True):
    """One ordered pair's check against its specification: links.parquet."""

    phase: str  # "before", "after", "during"
    src: str
    dst: str
    specified_ms: float
    median_ms: float
    p99_ms: float
    one_way_specified_ms: float
    one_way_median_ms: float
    sent: int
    received: int


STOPPED = "stopped: node "  # how a ReplayRow names a node that stopped


class ReplayRow(msgspec.Struct, frozen=True):
    """One change of links, or stop of a node, while a phase ran: replay.parquet, of runs in which there are any.

    From `started_ns` to `applied_ns` the links were changing; the experiment asked for `scheduled_ns`.
    """

    policy: str
    repeat: int
    step: int
    what: str  # "series", or the events of that moment
    scheduled_ns: int
    started_ns: int
    applied_ns: int
    links: int  # that differ from the step before


class ProbeRow(msgspec.Struct, frozen=True, array_like=True, tag="probe"):
    """One packet of the in-run probe and its echo, against its links at its own time: probes.parquet."""

    policy: str
    repeat: int
    src: str
    dst: str
    sent_ns: int
    specified_ms: float  # RTT
    rtt_ms: float | None  # None: one of the two was lost
    one_way_specified_ms: float
    one_way_ms: float | None
    comparable: bool  # False: links that were changing, cut, limited in rate or meant to spread or lose packets
