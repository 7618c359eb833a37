"""Every message that travels between nodes, in one schema: tagged msgspec structs, positional on the wire.

Positions are absolute token positions in prompt + output. A worker's drafts are nodes of a tree, be it of one branch:
each names its parent, and a node whose parent is not on the controller's tree is stale.
"""

from __future__ import annotations

import msgspec

from testbed.decoding.sampling import Sampling

PROTOCOL_VERSION = 6


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Both sides' first message; see `testbed.wire.greeting`."""

    node: str
    nonce: bytes
    version: int = PROTOCOL_VERSION
    incarnation: int = 0  # of the node's program: one that was started anew has another


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof"):
    """Both sides' second message, the dialling side's first: that it has the pair's key."""

    mac: bytes


# Round trips for the policies: how many a node measures with each peer when it connects, and how often from then on.
PINGS_AT_CONNECT = 9
PING_INTERVAL_MS = 250


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    sent_ns: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    ping_sent_ns: int


class Again(msgspec.Struct, frozen=True, array_like=True, tag="again"):
    """Send again what policies said to this node after the message of this number; see `testbed.wire.delivery`."""

    after: int


class Request(msgspec.Struct, frozen=True, array_like=True, tag="request", gc=False):
    """User to target: please generate."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    eos: tuple[int, ...] = ()  # tokens that end the output


class Tokens(msgspec.Struct, frozen=True, array_like=True, tag="tokens", gc=False):
    """Target to user: the next output tokens; `final` ends the request."""

    request: int
    position: int
    tokens: tuple[int, ...]
    final: bool


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open", gc=False):
    """Controller to worker: a request to speculate on."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling


class Branches(msgspec.Struct, frozen=True, array_like=True, tag="nodes", gc=False):
    """Worker to controller: the nodes that one pass added to the worker's tree, parents before children.

    Nodes are numbered as they are drafted, from 0 in each request: `first` is this message's first, so a gap in the
    stream shows. A parent is such a number, or -1: the node extends the first `position` tokens of the text, which the
    controller validated. One node that goes on from the node before it names no parent; with one branch that is nearly
    every message, whose tag is short for that. `probabilities` are the drafter's own, of each token after its parent.
    The children of one parent come together and only once, most probable first.
    """

    request: int
    first: int
    position: int
    parents: tuple[int, ...]
    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]


class Drafts(msgspec.Struct, frozen=True, array_like=True, tag="drafts", gc=False):
    """Device to server: verify these drafts, which follow the first `position` tokens of the text. Answered by Tokens.

    Asking again is harmless: for one position there is one answer.
    """

    request: int
    position: int
    tokens: tuple[int, ...]


class Slo(msgspec.Struct, frozen=True, array_like=True, tag="slo", gc=False):
    """Device to server, ahead of its Request: the token rate that is the user's SLO."""

    request: int
    tokens_per_s: float


class Validation(msgspec.Struct, frozen=True, array_like=True, tag="validation", gc=False):
    """Controller to worker: what one target step emitted, from `position` on."""

    request: int
    position: int
    tokens: tuple[int, ...]


class Close(msgspec.Struct, frozen=True, array_like=True, tag="close", gc=False):
    request: int


class Watch(msgspec.Struct, frozen=True, array_like=True, tag="watch", gc=False):
    """Target to drafter: report your load to me; `request`, the first that it has, says in which trial."""

    request: int


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load", gc=False):
    """Target to user, or drafter to target: what it had open when it said so.

    `request`, the newest that it had, says in which trial. Reports are numbered: the largest number counts, however
    often and in whatever order they come.
    """

    request: int
    open: int  # requests
    left: int  # tokens that it may still have to emit, or draft, for them
    pace_us: int = 0  # that it took for a token of any request, while it had some; 0: it emitted none yet
    number: int = 0
    wait_us: int = 0  # that others who share its device make a pass wait


# What policies say; the rest is the wire's own.
Said = Request | Tokens | Open | Branches | Drafts | Slo | Validation | Close | Load | Watch
Message = Hello | Proof | Ping | Pong | Again | Said


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What is framed: the sender's send time on the machine-wide monotonic clock, a sequence number, the message.

    What policies say is numbered, from 1 for each peer; the wire's own messages carry the number of the last of those.
    """

    sent_ns: int
    sequence: int
    message: Message
