"""The event log: what both engines write while a run goes on, one struct per row, one parquet file a kind.

Times are nanoseconds on one monotonic clock per run (the run's in emulation, virtual time in simulation).
"""

from __future__ import annotations

from typing import Annotated

import msgspec


def about(description: str) -> msgspec.Meta:
    """What a column holds; its unit is the end of its name."""
    return msgspec.Meta(description=description)


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step", gc=False):
    """One forward pass of one model at one node, as one request took part in it: steps.parquet.

    A pass over one request is one row. A batched pass is one row for each of its `batch` members, with the member's
    position and tokens and the pass's job and times: passes are counted by `testbed.results.metrics.base.passes`.
    """

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    node: Annotated[str, about("node that ran the pass")]
    site: Annotated[str, about("region of the node")]
    model: Annotated[str, about("`target` or `draft`")]
    request: Annotated[int, about("number of the request in the run, from 0")]
    job: Annotated[int, about("number of the pass at its node")]
    kind: Annotated[str, about("`draft` or `verify`")]
    submitted_ns: Annotated[int, about("when the policy asked for it")]
    started_ns: Annotated[int, about("when the emulated device started it")]
    finished_ns: Annotated[int, about("when the emulated device was done: what the policy sees")]
    paced_ms: Annotated[float, about("what the device profile says; 0 for `native`")]
    real_ms: Annotated[float, about("what the real forward pass took, by the machine's clock")]
    overrun_ms: Annotated[float, about("how much later than the profile the result was there; 0 when in time")]
    position: Annotated[int, about("cached tokens before the pass")]
    tokens: Annotated[int, about("tokens fed")]
    batch: Annotated[int, about("requests in the pass")] = 1
    alone_ms: Annotated[float, about("for a member of a batch: what the profile says for its own pass")] = 0.0


class Round(msgspec.Struct, frozen=True, array_like=True, tag="round", gc=False):
    """One draft-then-verify round, seen at the target: rounds.parquet."""

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    node: Annotated[str, about("the target's node")]
    request: Annotated[int, about("number of the request in the run, from 0")]
    index: Annotated[int, about("number of the round in its request, from 0")]
    position: Annotated[int, about("absolute position of the first token it emitted")]
    drafts: Annotated[int, about("drafted tokens that were verified")]
    remote_drafts: Annotated[int, about("those of them that another node drafted")]
    accepted: Annotated[int, about("drafted tokens that were accepted")]
    emitted: Annotated[int, about("tokens emitted, after cutting at the length limit or end of text")]
    started_ns: Annotated[int, about("end of the previous round, or arrival of the request at the target")]
    verify_submitted_ns: Annotated[int, about("when the policy asked for the verification")]
    finished_ns: Annotated[int, about("when the verification was done")]


class RequestRow(msgspec.Struct, frozen=True, array_like=True, tag="request", gc=False):
    """One request as its user saw it: requests.parquet."""

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    node: Annotated[str, about("the user's node")]
    request: Annotated[int, about("number of the request in the run, from 0")]
    prompt_id: Annotated[str, about("id of the prompt in its set")]
    prompt_tokens: Annotated[int, about("length of the prompt")]
    output_tokens: Annotated[int, about("length of the output")]
    scheduled_ns: Annotated[int, about("when it was due")]
    sent_ns: Annotated[int, about("when the user sent it")]
    first_token_ns: Annotated[int, about("when the user had the first token")]
    finished_ns: Annotated[int, about("when the user had the last token")]
    chunk_ns: Annotated[tuple[int, ...], about("arrival of each chunk of the output")]
    chunk_tokens: Annotated[tuple[int, ...], about("tokens in each chunk")]
    tokens: Annotated[tuple[int, ...], about("the output itself, as token ids")]
    lossless: Annotated[bool | None, about("whether it equals target-only decoding; null: not compared")]
    slo_tokens_per_s: Annotated[float | None, about("token rate of its user's SLO; null: none")] = None


class MessageRow(msgspec.Struct, frozen=True, array_like=True, tag="message", gc=False):
    """One message on the wire: messages.parquet."""

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    request: Annotated[int, about("number of the request in the run, from 0")]
    kind: Annotated[str, about("type of the message")]
    src: Annotated[str, about("node that sent it")]
    dst: Annotated[str, about("node that received it")]
    sent_ns: Annotated[int, about("when it was given to the socket")]
    received_ns: Annotated[int, about("when it was there whole")]
    size_bytes: Annotated[int, about("size on the wire, with its frame")]
    tokens: Annotated[int, about("tokens that it carries")]


class LinkRow(msgspec.Struct, frozen=True):
    """One directed link's check against its specification: links.parquet."""

    phase: Annotated[str, about("`before`, `after` or `during` the run")]
    src: Annotated[str, about("node at one end")]
    dst: Annotated[str, about("node at the other end")]
    specified_ms: Annotated[float, about("round-trip time that the experiment asks for")]
    median_ms: Annotated[float, about("median round-trip time of the probes")]
    p99_ms: Annotated[float, about("99th percentile of it")]
    one_way_specified_ms: Annotated[float, about("one-way delay from src to dst that the experiment asks for")]
    one_way_median_ms: Annotated[float, about("median one-way delay of the probes")]
    sent: Annotated[int, about("probes sent")]
    received: Annotated[int, about("probes that came back")]


STOPPED = "stopped: node "  # how a ReplayRow names a node that stopped


class ReplayRow(msgspec.Struct, frozen=True):
    """One change of links, or stop of a node, while a phase ran: replay.parquet, of runs in which there are any.

    From `started_ns` to `applied_ns` the links were changing; the experiment asked for `scheduled_ns`.
    """

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    step: Annotated[int, about("number of the change, from 0")]
    what: Annotated[str, about("`series`, or the events of that moment")]
    scheduled_ns: Annotated[int, about("when the experiment asks for it")]
    started_ns: Annotated[int, about("when the links started to change")]
    applied_ns: Annotated[int, about("when all of them had changed")]
    links: Annotated[int, about("directed links that differ from the step before")]


class ProbeRow(msgspec.Struct, frozen=True, array_like=True, tag="probe"):
    """One packet of the in-run probe and its echo, against its links at its own time: probes.parquet."""

    policy: Annotated[str, about("label of the policy")]
    repeat: Annotated[int, about("which repeat of the policy, from 0")]
    src: Annotated[str, about("node that sent the probe")]
    dst: Annotated[str, about("node that echoed it")]
    sent_ns: Annotated[int, about("when it was sent")]
    specified_ms: Annotated[float, about("round-trip time of the links at that time")]
    rtt_ms: Annotated[float | None, about("round-trip time; null: the probe or its echo was lost")]
    one_way_specified_ms: Annotated[float, about("one-way delay of the link at that time")]
    one_way_ms: Annotated[float | None, about("one-way delay; null: lost")]
    comparable: Annotated[
        bool, about("false: links that were changing, cut, limited in rate or meant to spread or lose packets")
    ]
