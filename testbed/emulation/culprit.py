"""Why a run ended: from everything that was found broken, the one cause that explains the rest.

Pure: `Facts` in, one `Culprit` out; `testbed.emulation.deployment` gathers the facts. Rule kept: what died is named
before what it took along. A dead fabric cuts connections, a dead worker ends its node, a dead node is a lost connection
to all others, and which of these the engine hears first is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from testbed.errors import NoEngine, RunInvalid, TestbedError, error_of
from testbed.network.spec.fabric import FabricDied
from testbed.nodes.control import Failed
from testbed.system.processes import ending

OUT_OF_MEMORY = "the kernel was out of memory: see dmesg"
KILL = -9


@dataclass(frozen=True)
class NodeFacts:
    """One node as it was found: what it said (a failure, or nothing) and how its program ended (None: it runs)."""

    name: str
    said: Failed | None = None
    status: int | None = None
    log: str = ""  # where it lies
    last_words: str = ""  # the last line of its log
    contained: bool = False
    over_its_memory: bool = False  # a container's limit


@dataclass(frozen=True)
class Facts:
    """All of a run at one moment after something failed."""

    fabric: str | None = None  # how it died, with its name
    containers: str | None = None  # why their engine does not answer
    helpers: Mapping[str, int] = field(
        default_factory=dict
    )  # that nodes live on: statuses of those that ended, by name
    nodes: Sequence[NodeFacts] = ()
    out_of_memory: bool = False  # the kernel killed something since the nodes were started


@dataclass(frozen=True)
class Culprit:
    """`words` in one line, and the kind of error that it is."""

    words: str
    kind: type[TestbedError] = RunInvalid

    def error(self) -> TestbedError:
        return self.kind(self.words)


def culprit(facts: Facts) -> Culprit | None:
    """The most fundamental cause; None where all is well. Among equals the first in the order of the facts."""
    return (
        _fabric(facts)
        or _engine_of_containers(facts)
        or _helper(facts)
        or _worker(facts)
        or _killed(facts)
        or _crashed(facts)
        or _own_failure(facts)
        or _lost_peer(facts)
    )


def _fabric(facts: Facts) -> Culprit | None:
    return None if facts.fabric is None else Culprit(f"fabric {facts.fabric}", FabricDied)


def _engine_of_containers(facts: Facts) -> Culprit | None:
    return None if facts.containers is None else Culprit(facts.containers, NoEngine)


def _helper(facts: Facts) -> Culprit | None:
    """A shared worker, or the template. With status 0 it has ended in order, because all its nodes had gone."""
    for name, status in facts.helpers.items():
        if status == 0:
            continue
        return Culprit(f"{name} {ending(status)}{_why(status, facts)}")
    return None


def _worker(facts: Facts) -> Culprit | None:
    """A node whose container ran out of memory loses its worker first, as that holds the models."""
    for node in facts.nodes:
        if node.said is not None and node.said.cause == "worker":
            why = _limit(node) or (f"; {OUT_OF_MEMORY}" if facts.out_of_memory else "")
            return Culprit(f"node {node.name}: {node.said.error}{why}{_log(node)}")
    return None


def _killed(facts: Facts) -> Culprit | None:
    """By a signal, so not of its own accord."""
    for node in facts.nodes:
        if node.status is not None and node.status < 0:
            what = f"node {node.name}: its container" if node.contained else f"node {node.name}"
            return Culprit(f"{what} {ending(node.status)}{_limit(node) or _why(node.status, facts)}{_log(node)}")
    return None


def _crashed(facts: Facts) -> Culprit | None:
    """Ended without a message."""
    for node in facts.nodes:
        if node.status is not None and node.said is None:
            words = f": {node.last_words}" if node.last_words else ""
            return Culprit(f"node {node.name} {ending(node.status)}{words}{_log(node)}")
    return None


def _own_failure(facts: Facts) -> Culprit | None:
    for node in facts.nodes:
        if node.said is not None and node.said.cause == "policy":
            return Culprit(f"{node.said.error}{_log(node)}")  # which says the node's name
        if node.said is not None and node.said.cause == "own":
            return _as_said(node, node.said)
    return None


def _lost_peer(facts: Facts) -> Culprit | None:
    for node in facts.nodes:
        if node.said is not None:
            return _as_said(node, node.said)
    return None


def _as_said(node: NodeFacts, said: Failed) -> Culprit:
    """Bad input and what the machine lacks need no log; the class is the node's own."""
    kind = type(error_of(said.exit_code, said.error))
    return Culprit(f"node {node.name}: {said.error}{_log(node) if kind is RunInvalid else ''}", kind)


def _why(status: int, facts: Facts) -> str:
    return f"; {OUT_OF_MEMORY}" if status == KILL and facts.out_of_memory else ""


def _limit(node: NodeFacts) -> str:
    return "; it needed more memory than compute: allows" if node.over_its_memory else ""


def _log(node: NodeFacts) -> str:
    return f"; log: {node.log}" if node.log else ""
