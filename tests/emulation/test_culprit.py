"""What died is named before what it took along, whichever was heard of first."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.emulation.culprit import OUT_OF_MEMORY, Facts, NodeFacts, culprit
from testbed.emulation.evidence import oom_kills
from testbed.errors import BadInput, MachineCannot, NoEngine, RunInvalid, TestbedError
from testbed.network.spec.fabric import FabricDied
from testbed.nodes.control import Failed

LOST = Failed("the connection to target0 was lost", 3, "peer")
WORKER = Failed("its model worker was killed (signal 9)", 3, "worker")
OWN = Failed("KeyError: 'x'")
NO_MODEL = Failed("no model 'x'", 2)
NO_GPU = Failed("no GPU here", 4)
RELAY = "relay: its process was killed (signal 9)"

cases: list[tuple[str, Facts, type[TestbedError], str]] = [
    (
        "a fabric before the nodes it parted",
        Facts(RELAY, nodes=[NodeFacts("user0", LOST, 0), NodeFacts("drafter0", status=-9)]),
        FabricDied,
        "fabric relay: its process was killed (signal 9)",
    ),
    (
        "a worker before the node that reported it and the nodes that lost that one",
        Facts(nodes=[NodeFacts("user0", LOST), NodeFacts("drafter0", LOST, 0), NodeFacts("target0", WORKER, 0)]),
        RunInvalid,
        "node target0: its model worker was killed (signal 9)",
    ),
    (
        "a shared worker before all nodes that had it",
        Facts(helpers={"shared model worker 0": -9}, nodes=[NodeFacts("user1", WORKER, 0)]),
        RunInvalid,
        "shared model worker 0 was killed (signal 9)",
    ),
    (
        "a killed node before the shared worker that ended when its last node had",
        Facts(
            helpers={"shared model worker 0": 0},
            nodes=[NodeFacts("user0", LOST, 0), NodeFacts("target0", status=-9)],
        ),
        RunInvalid,
        "node target0 was killed (signal 9)",
    ),
    (
        "a killed node before those that lost it",
        Facts(nodes=[NodeFacts("user0", LOST, 0), NodeFacts("drafter0", LOST, 0), NodeFacts("target0", status=-9)]),
        RunInvalid,
        "node target0 was killed (signal 9)",
    ),
    (
        "a killed container",
        Facts(nodes=[NodeFacts("user0", LOST, 0), NodeFacts("target0", status=-9, contained=True)]),
        RunInvalid,
        "node target0: its container was killed (signal 9)",
    ),
    (
        "a killed node although it had complained of another",
        Facts(nodes=[NodeFacts("user0", LOST, -9), NodeFacts("target0", OWN, 0)]),
        RunInvalid,
        "node user0 was killed (signal 9)",
    ),
    (
        "the engine of containers before the nodes that went with it",
        Facts(containers="containers: the Docker daemon no longer answers", nodes=[NodeFacts("target0", LOST)]),
        NoEngine,
        "containers: the Docker daemon no longer answers",
    ),
    (
        "a node that ended without a word before one that said what it lacked",
        Facts(nodes=[NodeFacts("user0", OWN, 0), NodeFacts("target0", status=1, last_words="ImportError: torch")]),
        RunInvalid,
        "node target0 ended (status 1): ImportError: torch",
    ),
    (
        "a node's own failure before a lost connection",
        Facts(nodes=[NodeFacts("user0", LOST, 0), NodeFacts("target0", OWN, 0, log="target0.log")]),
        RunInvalid,
        "node target0: KeyError: 'x'; log: target0.log",
    ),
    (
        "bad input is what the node says, without a log to look into",
        Facts(nodes=[NodeFacts("user0", LOST, 0), NodeFacts("target0", NO_MODEL, 2, log="target0.log")]),
        BadInput,
        "node target0: no model 'x'",
    ),
    ("what the machine lacks", Facts(nodes=[NodeFacts("target0", NO_GPU)]), MachineCannot, "node target0: no GPU here"),
    (
        "a lost connection where nothing else is wrong",
        Facts(nodes=[NodeFacts("target0"), NodeFacts("user0", LOST)]),
        RunInvalid,
        "node user0: the connection to target0 was lost",
    ),
    (
        "the kernel's choice",
        Facts(nodes=[NodeFacts("user0", LOST), NodeFacts("target0", status=-9)], out_of_memory=True),
        RunInvalid,
        f"node target0 was killed (signal 9); {OUT_OF_MEMORY}",
    ),
    (
        "the kernel's choice among workers",
        Facts(nodes=[NodeFacts("target0", WORKER)], out_of_memory=True),
        RunInvalid,
        f"node target0: its model worker was killed (signal 9); {OUT_OF_MEMORY}",
    ),
    (
        "its own limit",
        Facts(nodes=[NodeFacts("target0", status=-9, contained=True, over_its_memory=True)], out_of_memory=True),
        RunInvalid,
        "node target0: its container was killed (signal 9); it needed more memory than compute: allows",
    ),
    (
        "a crash by another signal is not a want of memory",
        Facts(nodes=[NodeFacts("target0", status=-11)], out_of_memory=True),
        RunInvalid,
        "node target0 was killed (signal 11)",
    ),
]


@pytest.mark.parametrize(("facts", "kind", "words"), [case[1:] for case in cases], ids=[case[0] for case in cases])
def test_the_cause_is_named(facts: Facts, kind: type[TestbedError], words: str) -> None:
    found = culprit(facts)
    assert found is not None
    error = found.error()
    assert (type(error), str(error)) == (kind, words)
    assert "\n" not in words


def test_the_order_in_which_nodes_were_looked_at_does_not_matter() -> None:
    nodes = [NodeFacts("user0", LOST, 0), NodeFacts("target0", WORKER, 0), NodeFacts("drafter0", status=-9)]
    assert culprit(Facts(nodes=nodes)) == culprit(Facts(nodes=nodes[::-1]))


def test_where_all_is_well_nobody_is_named() -> None:
    assert culprit(Facts(nodes=[NodeFacts("user0"), NodeFacts("target0")], out_of_memory=True)) is None


def test_the_kernels_kills_are_counted_where_it_says_them(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 12\noom_kill 3\noom_kill_other 9\n")
    assert oom_kills(vmstat) == 3
    assert oom_kills(tmp_path / "none") == 0
