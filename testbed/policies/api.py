"""The policy contract: events in, commands out, nothing else.

A policy is a set of roles; a role is a pure state machine that lives at one node. It does no I/O, reads no clock and
draws no random numbers: time arrives as `now` in milliseconds, random draws are keyed by (seed, request,
position) in `testbed.decoding`. The same role object runs in the emulation (real models, wall clock) and in the
simulation (recorded tables, virtual clock). A role may not know what a real deployment could not know (invariant 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from testbed.decoding.rows import SparseRow as SparseRow
from testbed.decoding.sampling import Sampling
from testbed.wire.messages import Message

# gc=False: none of these can be part of a cycle, and a simulation makes millions of them.

KIND = "kind"  # says which job or answer it is, wherever one is written

# --- events ---------------------------------------------------------------------------------------------------------


class RequestArrived(msgspec.Struct, frozen=True, gc=False):
    """A user's request is due at this (user) node."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    eos: tuple[int, ...] = ()  # tokens that end the output
    slo_tokens_per_s: float | None = None  # the SLO of its user


class MessageReceived(msgspec.Struct, frozen=True, gc=False):
    sender: str
    message: Message


class DraftReady(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft"):
    """The draft model finished `steps` passes: one token, entropy (nats) and top probability each."""

    job: int
    request: int
    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    confidences: tuple[float, ...]
    duration_ms: float
    rows: tuple[SparseRow, ...] = ()  # only when a sampled draft was asked for
    # Only when features were asked for: largest minus second largest probability, and variance of the logits, of each.
    margins: tuple[float, ...] = ()
    logit_variances: tuple[float, ...] = ()


class VerifyReady(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="verify"):
    """One target pass: `accepted` drafts, then a correction or bonus token; the target's entropy (nats) at each."""

    job: int
    request: int
    accepted: int
    tokens: tuple[int, ...]  # accepted drafts, then the correction or bonus token
    entropies: tuple[float, ...]
    duration_ms: float


class BatchReady(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="verify_batch"):
    """One target pass over several requests: their verdicts, in the order of the command's members."""

    job: int
    members: tuple[VerifyReady, ...]
    duration_ms: float


class TreeDraftReady(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft_tree"):
    """One batched pass of the draft model: at each leaf its best tokens, in that order, and its entropy (nats)."""

    job: int
    request: int
    tokens: tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    entropies: tuple[float, ...]
    duration_ms: float


class DraftBatchReady(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft_batch"):
    """Passes of the draft model over several requests: what each drafted, in the order of the command's members."""

    job: int
    members: tuple[DraftReady | TreeDraftReady, ...]
    duration_ms: float


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    name: str


class LinkSample(msgspec.Struct, frozen=True, gc=False):
    """A round-trip time measured by the wire to `peer`, in milliseconds."""

    peer: str
    rtt_ms: float


JobDone = DraftReady | TreeDraftReady | DraftBatchReady | VerifyReady | BatchReady  # each answers one job


class DeviceSample(msgspec.Struct, frozen=True, gc=False):
    """What others did with this node's device since the last sample: their share of its time, and how long their
    passes took. Told to roles that ask for it (`PolicySpec.device_samples`), where a device is shared.
    """

    share: float
    pass_ms: float


DEVICE_SAMPLE_INTERVAL_MS = 250

Event = RequestArrived | MessageReceived | JobDone | TimerFired | LinkSample | DeviceSample


# --- commands -------------------------------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True, gc=False):
    to: str
    message: Message


class Draft(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft"):
    """Crop the request's draft cache to `position` tokens, feed `tokens`, then draft `steps` tokens, one pass each.

    No steps: the tokens are only cached, a part of the text whose rest is still to come, and the answer has no tokens.

    Greedy unless `sampled`: then each token is drawn from the drafter's distribution truncated to `top_q` entries, and
    the rows drawn from come back in `DraftReady.rows`.

    `most`: `tokens` are fed so many a pass at most; 0: what the device takes.

    `features`: margins and logit variances come back too, for a rule that decides when to stop drafting.
    `prefix_of`: the request, ended or not, in whose cache the first `position` tokens are; None: in its own.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    steps: int = 1
    sampled: bool = False
    top_q: int = 0
    sampling: Sampling = Sampling()
    most: int = 0
    features: bool = False
    prefix_of: int | None = None


class Verify(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="verify"):
    """Crop the request's target cache to `position` tokens, feed `tokens`; the last `drafts` of them are to be checked.

    `remote_drafts`: how many of the drafts came from another site. Bookkeeping for the round log, never for the result.
    `prefill`: the tokens are only cached, a part of the text whose rest is still to come: the answer has no tokens.
    `prefix_of`: as in `Draft`.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    drafts: int
    sampling: Sampling = Sampling()
    rows: tuple[SparseRow, ...] = ()  # the drafter's rows, when drafts were sampled
    remote_drafts: int = 0
    prefill: bool = False
    prefix_of: int | None = None


class VerifyBatch(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="verify_batch"):
    """One target pass over several requests, each with its own cache, feed and drafts: answered by one `BatchReady`.

    A request is in a batch once. All fed tokens together are one pass, so they must not be more than the device takes
    (`DeviceLimits.max_pass_tokens`). `padded`: the device computes every member as long as the longest, and takes the
    time for it; nothing else changes. The members' own job numbers are the batch's.
    """

    job: int
    members: tuple[Verify | VerifyTree, ...]
    padded: bool = False


class DraftBatch(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft_batch"):
    """Passes of the draft model over several requests, step by step: answered by one `DraftBatchReady`.

    A request is in a batch once. The first pass feeds what every member feeds, each further one the last drafts of
    those that want more steps; more tokens than the device takes are several passes. The members' own job numbers are
    the batch's.
    """

    job: int
    members: tuple[Draft | DraftTree, ...]


class DraftTree(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="draft_tree"):
    """Crop the request's draft cache to `position` tokens, feed `tokens`, then choose after each of `leaves` at once.

    `nodes` are a tree below the last of `tokens`, parents before children; a parent is an index into `nodes`, or -1 for
    that last token, as is a leaf. A node sees the text and its own ancestors, and stands as deep as it has ancestors.
    Only the text stays in the cache; a device that keeps the tree as well has `fresh` tokens to process, and that is
    what the pass takes. Choices are the `width` most probable tokens, never drawn.

    `most`: a pass takes no more fresh tokens than this, so a job may be several passes; 0: what the device takes.
    `prefix_of`: as in `Draft`.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    nodes: tuple[int, ...]
    parents: tuple[int, ...]
    leaves: tuple[int, ...]
    width: int
    fresh: int
    most: int = 0
    prefix_of: int | None = None


class VerifyTree(msgspec.Struct, frozen=True, gc=False, tag_field=KIND, tag="verify_tree"):
    """Crop the request's target cache to `position` tokens, feed `tokens` and a tree of drafts, judge all its paths.

    `nodes`, `parents` and `fresh` are as in `DraftTree`. The answer is a `VerifyReady`: `accepted` is how deep the
    target followed the tree. `drafts` is the tree's depth, `remote_drafts` how many of its levels hold a node from
    another site: bookkeeping for the round log, never for the result.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    nodes: tuple[int, ...]
    parents: tuple[int, ...]
    drafts: int
    fresh: int
    sampling: Sampling = Sampling()
    remote_drafts: int = 0
    prefix_of: int | None = None

    @property
    def prefill(self) -> bool:
        """Never: a tree extends a prompt that has been fed."""
        return False


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    name: str
    at: float  # milliseconds, same clock as `now`


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    name: str


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Tokens delivered to the user, at the user's node."""

    request: int
    tokens: tuple[int, ...]


class Finish(msgspec.Struct, frozen=True, gc=False):
    """This node is done with the request: its caches are released; at the user's node the request is complete.

    `kept`: the device keeps them until `Evict`, since others may begin with what is in them.
    """

    request: int
    kept: bool = False


class Evict(msgspec.Struct, frozen=True, gc=False):
    """What the device kept of a request that has finished is released (`testbed.policies.prefixes`)."""

    request: int


DraftJob = Draft | DraftTree | DraftBatch
TargetJob = Verify | VerifyBatch | VerifyTree
DeviceJob = DraftJob | TargetJob  # all that a device does; each has one answer
Command = Send | DeviceJob | SetTimer | CancelTimer | Emit | Finish | Evict


def requests_of(job: DeviceJob) -> list[int]:
    """The requests that a job computes for."""
    return [one.request for one in job.members] if isinstance(job, VerifyBatch | DraftBatch) else [job.request]


# --- the contract ---------------------------------------------------------------------------------------------------


class Role(Protocol):
    """One policy's half at one node."""

    def handle(self, event: Event, now: float) -> list[Command]: ...


class DeviceLimits(msgspec.Struct, frozen=True):
    """What a server knows of the device its target runs on. None: not bounded, or not profiled."""

    kv_capacity_tokens: int | None = None  # cached tokens that fit, of all requests together; more end the run
    max_pass_tokens: int | None = None  # tokens in one pass
    # Passes that were timed before: (tokens fed, Σ over requests of fed · (fed + cached), tokens cached, milliseconds).
    profiled: tuple[tuple[int, int, int, float], ...] = ()


class RoleContext(msgspec.Struct, frozen=True):
    """What a role is told when it is made: who it is, its peers by role name, what the target's device takes."""

    node: str
    peers: Mapping[str, Sequence[str]]  # e.g. {"user": ["user0"], "target": ["target0"], "drafter": ["drafter0"]}
    limits: DeviceLimits = DeviceLimits()
    # By model, "target" and "draft": how many leading tokens of a text its device keeps; empty: it keeps none.
    prefixes: Mapping[str, Callable[[Sequence[int]], int]] = {}
