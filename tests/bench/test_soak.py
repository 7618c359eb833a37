"""A short soak, for real: nothing grows but the one node that a leak was planted in, which is seen.

The long one is `python -m testbed.bench soak --minutes 120`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.bench.soak import Soak, run

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

ALLOWED = 0.03  # of a process's heap in half a minute: one of these nodes' is 30 MB
LEAKY = """
from testbed.policies import wanspec
from testbed.policies.api import MessageReceived
from testbed.policies.spec import PolicySpec
from testbed.wire.messages import Open

KEPT = []

class Leaky:
    def __init__(self, params, context):
        self._role = wanspec.SPEC.roles["drafter"](params, context)

    def handle(self, event, now):
        if isinstance(event, MessageReceived) and isinstance(event.message, Open):
            KEPT.append(bytes([1]) * 30_000)
        return self._role.handle(event, now)

SPEC = PolicySpec("leaky", "", wanspec.SPEC.params, {**wanspec.SPEC.roles, "drafter": Leaky}, wanspec.SPEC.models)
"""


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A policy of another distribution, installed for this test."""
    folder = tmp_path / "site"
    about = folder / "leaky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[testbed.policies]\nleaky = leaky:SPEC\n")
    (folder / "leaky.py").write_text(LEAKY)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    return "leaky"


def grows(memory: dict[str, float]) -> bool:
    """On a line the farthest sample is half the rise away; caches that come and go are farther off than they rise."""
    return memory["rise"] > max(ALLOWED * memory["median"], memory["most_off"])


@pytest.mark.timeout(600)
def test_nothing_grows_with_requests_but_what_leaks(tmp_path: Path, leaky: str) -> None:
    asked = Soak(1.0, tmp_path / "soak", sample_s=2.0, policies=[leaky], rate_per_s=3.0, output_tokens=4, turns=2)
    found = {one["name"]: one for one in run(asked)["processes"]}
    assert {"engine", "relay", "user0", "user1", "target0", "drafter0", "worker of target0"} <= set(found)
    assert {name for name, one in found.items() if grows(one["anonymous_kb"])} == {"drafter0"}, "the leak alone"
    most = {name: one["most_descriptors"] for name, one in found.items()}
    assert {name: (early, late) for name, (early, late) in most.items() if late > early} == {}
