"""The compiled world's memory: records of fixed fields, and the numbers that stand for kinds, links and outcomes.

Rule kept: all state of a world is in these arrays, none in the loop's own variables. The loop can therefore stop
between any two events, be given longer logs, and go on.

Positions of tokens count from the start of the output, as in a decode table; the prompt ends at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Records = np.ndarray[Any, np.dtype[np.void]]
Record = Any  # one element of Records: numba and numpy give its fields as attributes

FOREVER_NS = 2**63 - 1
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NOBODY = -1

# Nodes that have a device, which are also the models that a pass is of.
TARGET, DRAFTER = 0, 1
USER_NODE = 2  # has none

# What may happen next: one thing of each kind at a time, because links and devices deliver in order.
STOP = 0
DONE = 1  # + node: its device has finished a job
ARRIVAL = 3  # + link: its first message is there
# after the links, + user: its next request is due

# Links: two of the drafter's, then two for each user.
TO_DRAFTER, TO_TARGET = 0, 1
FROM_USER, TO_USER = 2, 3  # + 2 * user

# Messages, in the order of KINDS.
REQUEST, TOKENS, OPEN, SPECULATION, VALIDATION, CLOSE = range(6)
KINDS = ("request", "tokens", "open", "speculation", "validation", "close")

# Policies. Target-only decoding is speculation with no drafts.
SPECULATIVE, WANSPEC = range(2)

# Why the loop returned. All but the first two are the object kernel's to explain.
FINISHED, CROWDED, AT_REST, OUT_OF_ORDER, OUTSIDE_TABLE, TOO_LATE = range(6)
PROBLEMS = {
    AT_REST: "it came to rest",
    OUT_OF_ORDER: "a message was out of order",
    OUTSIDE_TABLE: "the policy left the decode table",
    TOO_LATE: "virtual time passed 2**53 ns, beyond which a float is not exact",
}
LAST_EXACT_NS = 2**53

_I, _F = np.int64, np.float64


def _record(integers: str, floats: str = "") -> np.dtype[np.void]:
    return np.dtype([*((name, _I) for name in integers.split()), *((name, _F) for name in floats.split())])


SETUP = _record(
    "policy k max_lookahead phi_given aware contradiction users depth job_ns message_ns drain_ns headroom target_pass "
    "draft_pass",
    "phi rtt_ms",
)
CLOCK = _record("now_ns serial events left crowded problem sources rounds chunks requests")
PLAN = _record(
    "number prompt_tokens max_tokens ends row length request_bytes open_bytes close_bytes tokens_bytes "
    "speculation_bytes validation_bytes"
)
PENDING = _record("time_ns serial")
LINK = _record("delay_ns rate_bps free_ns last_ns head tail")
MESSAGE = _record("time_ns serial kind user one sent_ns bytes position count token lineage final")
DEVICE = _record(
    "busy jobs in_line free_ns user one job draft submitted_ns started_ns finished_ns position tokens steps drafts "
    "remote accepted row off logged",
)
ESTIMATE = _record("known", "value")
CONTEXT = _record("true off")
CONTROLLER = _record(
    "one validated fed length generation lineage alive next verifying drafting_generation drafting_length drafted "
    "round_start_ns round_index",
    "t_update",
)
WORKER = _record("one validated length lineage drafting")
USER = _record("next sent_ns")

STEP = _record("draft number job submitted_ns started_ns finished_ns position tokens")
ROUND = _record(
    "number index position drafts remote_drafts accepted emitted started_ns verify_submitted_ns finished_ns"
)
MESSAGE_LOG = _record("kind user number sent_ns received_ns size_bytes tokens")
CHUNK = _record("one at_ns count")
REQUEST_LOG = _record("one user sent_ns finished_ns")

# Arrays whose length is the phase's, with their number of dimensions: reached by address, see `memory`.
ARRAYS = {
    "plan": 1,  # by request, in the order of the plan
    "truth": 1,  # the decode tables of all prompts, one after another
    "entropies": 1,
    "rollouts": 2,  # [row, depth]
    "pass_ns": 2,  # [model, tokens]
    "pending": 1,
    "links": 1,
    "rings": 2,  # [link, message]: what is under way
    "lines": 2,  # [node, place]: users whose request is open, longest unserved first
    "contexts": 2,  # [node, user]: the draft model's cache
    "controllers": 1,  # by user, as workers and users are
    "candidates": 2,  # [user, place]: the controller's path
    "remote": 2,  # [user, place]: 1 where the candidate is the worker's
    "validated_at": 2,  # [user, position]
    "workers": 1,
    "paths": 2,  # [user, place]: the worker's path
    "users": 1,
    "steps": 2,  # [node, row]
    "rounds": 1,
    "messages": 2,  # [role that received, row]
    "chunks": 1,
    "requests": 1,
}
WORLD = np.dtype(
    [
        ("setup", SETUP),
        ("clock", CLOCK),
        ("t_draft", ESTIMATE),
        ("devices", DEVICE, (2,)),
        ("received", _I, (3,)),  # rows of `messages`
        *((f"{name}{part}", _I) for name in ARRAYS for part in ("", "_rows", "_columns")),
    ]
)
