"""The rows of one small simulation a policy, by hash: a change of results that nobody meant shows in seconds.

    python -m tests.simulation.fixed_rows

writes `fixed_rows.json` anew, and says the line that CHANGELOG.md must hold beside the reason why results changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.tables.table import DecodeTable
from tests.simulation.made_up import decode_table, rows

FILE = Path(__file__).with_suffix(".json")
KINDS = ("requests", "rounds", "steps", "messages")
DIGITS = 9  # of a float: the last bits of a logarithm are another library's choice

PATHS = decode_table(0.7, output_tokens=40)
TREES_ENTROPIES = ByOutcome(Exponential(0.3), Exponential(1.5))
TREES = iid_table(
    made_up_prompts(4, 16, 1), 40, 0.75, TREES_ENTROPIES, TREES_ENTROPIES, 1, depth=64, second_match_rate=0.5
)
ONE = {"place": {"user": {"near": 2}, "target": "near", "drafter": {"far": 2}}}
SERVED = {
    "place": {"user": {"near": 2, "far": 2}, "target": "near"},
    "devices": {"target": "a100-80gb/qwen3-32b", "drafter": "jetson-orin-nano/qwen3-0.6b-q4"},
}

# By name: the policy with its parameters, its decode table, and what else the experiment says.
CASES: dict[str, tuple[object, DecodeTable, dict[str, Any]]] = {
    "autoregressive": ("autoregressive", PATHS, {}),
    "speculative": ({"speculative": {"k": 3}}, PATHS, {}),
    "speculative, many at once": ({"speculative": {"k": 3}}, PATHS, ONE),
    "wanspec": ({"wanspec": {"k": 2}}, PATHS, ONE),
    "wanspec, one request per pass": ({"wanspec": {"k": 2, "max_batch": 1}}, PATHS, ONE),
    "wanspec, as a tree": ({"wanspec": {"branches": 2, "theta": None, "local_branches": True}}, TREES, ONE),
    "wanspec, expected arrival": (
        {"wanspec": {"rule": "expected_arrival", "mismatch": "learned", "latency_bound": 1.02}}, TREES, ONE,
    ),
    "wanspec, links that vary": ({"wanspec": {"silence_ms": 300}}, PATHS, {"network": {"jitter_ms": 3, "loss": 0.02}}),
    "centralised": ("centralised", TREES, SERVED),
    "sled": ("sled", TREES, SERVED),
    "wisp": ({"wisp": {"stop": "fixed"}}, TREES, SERVED),
}  # fmt: skip


def digests(name: str) -> dict[str, str]:
    """Of each table: how many rows, and their hash."""
    policy, table, changes = CASES[name]
    log = rows(table, policy, **changes)
    return {kind: f"{len(log[kind])} rows, {_digest(log[kind])}" for kind in KINDS}


def recorded() -> dict[str, dict[str, str]]:
    held: dict[str, dict[str, str]] = json.loads(FILE.read_text())
    return held


def changelog_line() -> str:
    """What CHANGELOG.md holds as long as these results stand."""
    return f"Fixed simulations: `{hashlib.sha256(FILE.read_bytes()).hexdigest()[:12]}`"


def _digest(table: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for row in table:
        found.update(repr([_plain(value) for value in msgspec.structs.astuple(row)]).encode())
    return found.hexdigest()[:16]


def _plain(value: Any) -> Any:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: digests(name) for name in CASES}, indent=2) + "\n")
    print(f"CHANGELOG.md, with what changed and why: {changelog_line()}")
