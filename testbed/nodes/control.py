"""Messages between the emulation engine and a node program: JSON lines on its stdin and stdout, or on sockets.

The control channel never touches the experiment's network, and a node ends when it closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Literal

import msgspec

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.models.fit import Fitness
from testbed.wire.tcpinfo import TcpState
from testbed.workload.background import Background
from testbed.workload.planned import PlannedRequest

MOST_REPLY_BYTES = 1 << 20  # a reply is hundreds of bytes


class NodeConfig(msgspec.Struct, frozen=True):
    """Everything a node program needs to start: a file named on its command line, or a container's first line."""

    node: str
    site: str
    address: str
    models: dict[str, str] = {}  # "target", "draft" -> model name; empty: no model worker
    devices: dict[str, str] = {}
    threads: int = 1
    cpus: tuple[int, ...] = ()  # CPU set of the model worker; empty: not pinned
    accelerator: str = "cpu"  # torch's name of what the models run on
    gpu_memory_fraction: float | None = None
    passes: str = "auto"  # `testbed.models.passes.Choice`
    fitness: Fitness = Fitness()  # of its models, found before there were nodes
    table: str = ""  # file of its recorded answers (`testbed.tables.carried`); empty: its models run
    clock: str | None = None  # the run's, as the node sees its file; None: the machine's
    shared_worker: int | None = None  # descriptor of a connection to one for several nodes; None: one of its own


class Bound(msgspec.Struct, frozen=True, array_like=True):
    """Which recorded output a request has: its prompt's, decoded so."""

    request: int
    prompt_id: str
    sampling: Sampling


# --- engine to node ---


class Connect(msgspec.Struct, frozen=True, tag="connect"):
    """Dial `dial` (name to address) and wait until `expect` have dialled in.

    `keys` has one for each of them (`testbed.wire.greeting`); they travel this way only, and are in no file.
    """

    dial: dict[str, str]
    expect: list[str]
    keys: dict[str, bytes]


class StartPolicy(msgspec.Struct, frozen=True, tag="start_policy"):
    """Become `role` of the policy, until StopPolicy. Requests outside `requests` (first, last) are another phase's.

    Log rows go to `log_path` as they come (`testbed.nodes.rowfile`).
    """

    label: str
    policy: str
    params: dict[str, object]
    role: str
    peers: dict[str, list[str]]
    repeat: int
    requests: tuple[int, int]
    log_path: str
    files: dict[str, str] = {}  # texts of a policy from a file (`testbed.files.pyfile`)
    seed: int = 0  # the experiment's
    background: Background | None = None  # other tenants of its device
    bound: list[Bound] = []  # what is recorded of the requests that its device meets; empty where models run
    routing: dict[str, object] | None = None  # between several targets (`testbed.policies.routing`)
    keeping: dict[str, object] | None = None  # what models keep of requests that ended (`testbed.policies.prefixes`)


class Issue(msgspec.Struct, frozen=True, tag="issue"):
    """User nodes only: issue these requests now."""

    requests: list[PlannedRequest]


class StopPolicy(msgspec.Struct, frozen=True, tag="stop_policy"):
    """Leave the role and write the last of its log rows."""


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    pass


ControlCommand = Connect | StartPolicy | Issue | StopPolicy | Quit

# --- node to engine ---


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The node takes commands and its models are loaded."""

    models: dict[str, str]
    resident_mb: float
    priority: str  # of the node program, as it could take by itself
    accelerator: str = ""  # that its models run on, in words; empty: it has none
    passes: dict[str, str] = {}  # role -> the path its passes take, and why


class Connected(msgspec.Struct, frozen=True, tag="connected"):
    congestion_control: str


class PolicyStarted(msgspec.Struct, frozen=True, tag="policy_started"):
    pass


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Sent once a second: the program's loop is alive."""


class RequestDone(msgspec.Struct, frozen=True, tag="request_done"):
    request: int
    tokens: int


class AllDone(msgspec.Struct, frozen=True, tag="all_done"):
    """Every issued request of this user node has finished."""


class PolicyStopped(msgspec.Struct, frozen=True, tag="policy_stopped"):
    stale_messages: int
    rows: int  # that the log holds
    lookups: tuple[int, int] = (0, 0)  # of recorded answers about trees, and how many of them were approximated
    connections: dict[str, TcpState] = {}  # by peer, counted from the start of the policy


Cause = Literal["own", "policy", "worker", "peer"]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why the node cannot go on, in one line; `cause`: itself, its policy, its worker that died, a node it lost."""

    error: str
    exit_code: int = 1
    cause: Cause = "own"


ControlReply = Ready | Beat | Connected | PolicyStarted | RequestDone | AllDone | PolicyStopped | Failed


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Until its end; raises RunInvalid for a line that does not end within MOST_REPLY_BYTES."""
    while text := stream.readline(MOST_REPLY_BYTES):
        if len(text) == MOST_REPLY_BYTES and not text.endswith(b"\n"):
            raise RunInvalid(f"sent a reply of more than {MOST_REPLY_BYTES} bytes")
        yield text
