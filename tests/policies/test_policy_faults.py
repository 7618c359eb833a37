"""A policy's fault is one line that names policy, role, node, event, request and its own file and line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.policies import registry
from testbed.policies.api import MessageReceived, RoleContext, TimerFired, VerifyReady
from testbed.policies.faults import PolicyFault
from testbed.wire.messages import Request
from tests.policies.elsewhere import install, line_of

PEERS = {"user": ["user0"], "target": ["target0"], "drafter": ["drafter0"]}
ASKED = MessageReceived("user0", Request(3, (5, 6), 8, Sampling()))
WHO = "policy mine (elsewhere), role target at target0"
ON = f"{WHO}, on MessageReceived(Request from user0) of request 3"


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the target's role of a policy that does as told; its file."""

    def make(handle: str, helper: str = "pass", init: str = "pass") -> tuple[Any, Path]:
        module = install(tmp_path, handle, helper, init)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "elsewhere", raising=False)
        importlib.invalidate_caches()
        spec = registry.get("elsewhere")
        return spec.role("target", None, RoleContext("target0", PEERS), "mine"), module

    return make


@pytest.mark.parametrize(
    ("handle", "helper", "said", "where"),
    [
        ("return {}['x']", "pass", "KeyError: 'x'", "{}['x']"),
        ("helper(event)", "raise ValueError('two\\nlines')", "ValueError: two lines", "raise ValueError"),
        ("import sys; sys.exit('bye')", "pass", "SystemExit: bye", "sys.exit"),
        ("import json; json.loads('{')", "pass", "JSONDecodeError: Expecting property name", "json.loads"),
    ],
    ids=["handle", "helper", "exit", "library"],
)
def test_what_it_raises_is_said_with_its_own_deepest_line(
    role: Any, handle: str, helper: str, said: str, where: str
) -> None:
    made, module = role(handle, helper)
    with pytest.raises(PolicyFault) as caught:
        made.handle(ASKED, 0.0)
    line = str(caught.value)
    assert line.startswith(f"{ON}: {said}") and line.endswith(f"; at {line_of(module, where)}")
    assert "\n" not in line and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("None", "None, which is not a list of commands"),
        ("(Finish(3),)", "(Finish(request=3, kept=False),), which is not a list of commands"),
        ("['x']", "'x', which is not a command"),
        ("[event]", "which is not a command"),
        ("[Send('target9', Request(3, (1,), 1, None))]", "connected are user0"),  # no drafter has a role in it
        ("[Send('drafter0', Tokens(3, 0, (1,), True))]", "connected are user0"),
        ("[Send('user0', 'hello')]", "Expected `array`, got `str`"),
        ("[Send('user0', Tokens(3, 'a', (1,), True))]", "Expected `int`, got `str`"),
        ("[SetTimer('t', -1.0)]", "at must be a time"),
        ("[SetTimer('t', float('nan'))]", "at must be a time"),
        ("[SetTimer('t', 'soon')]", "at must be a time"),
        ("[SetTimer(7, 1.0)]", "Expected `str`, got `int`"),
        ("[Verify(1, 9, 0, (1, 2), 1)]", "it does not know request 9"),
        ("[Finish(9)]", "it does not know request 9"),
        ("[Finish(3), Finish(3)]", "request 3 has already finished"),
        ("[Finish(3, kept=True)]", "what a node keeps is not a role's to say"),
        ("[Verify(1, 3, 1, (2,), 0, prefix_of=2)]", "what a node keeps is not a role's to say"),
        ("[VerifyBatch(1, (Verify(1, 3, 0, (1,), 0), Verify(1, 4, 0, (1,), 0)))]", "it does not know request 4"),
        ("[Verify('a', 3, 0, (1, 2), 1)]", "Expected `int`, got `str`"),
        ("[Verify(1, 3, -1, (1, 2), 1)]", "position must be 0 or more"),
        ("[Verify(1, 3, 0, (1, 2), 3)]", "drafts must be at most the 2 tokens"),
        ("[Verify(1, 3, 0, (1, -2), 1)]", "tokens must be 0 or more"),
        ("[Draft(1, 3, 0, (1,), steps=-1)]", "steps must be 0 or more"),
        ("[DraftTree(1, 3, 0, (1,), (4, 5), (-1,), (0,), 2, 2)]", "2 nodes have 1 parents"),
        ("[DraftTree(1, 3, 0, (1,), (4, 5), (1, 0), (0,), 2, 2)]", "a parent must come before its child"),
        ("[DraftTree(1, 3, 0, (1,), (4,), (-1,), (7,), 2, 1)]", "a leaf must be a node"),
    ],
)
def test_what_no_engine_can_carry_out_is_named_with_where_it_answered(role: Any, answer: str, wrong: str) -> None:
    made, module = role(f"return {answer}")
    with pytest.raises(PolicyFault) as caught:
        made.handle(ASKED, 0.0)
    line = str(caught.value)
    assert line.startswith(f"{ON}: it returned ") and wrong in line
    assert line.endswith(f"; at {line_of(module, 'def handle')}") and "\n" not in line


def test_events_that_are_about_no_message_are_named_too(role: Any) -> None:
    made, _ = role("raise ValueError")
    with pytest.raises(PolicyFault, match="on TimerFired: ValueError; at "):
        made.handle(TimerFired("t"), 0.0)
    with pytest.raises(PolicyFault, match="on VerifyReady of request 4: ValueError; at "):
        made.handle(VerifyReady(1, 4, 0, (1,), (0.0,), 1.0), 0.0)


def test_what_is_right_passes(role: Any) -> None:
    answer = "[Send('user0', Tokens(3, 0, (1,), True)), Verify(1, 3, 0, (5, 6), 0), SetTimer('t', 1), Finish(3)]"
    made, _ = role(f"return {answer}")
    assert len(made.handle(ASKED, 0.0)) == 4


def test_a_role_that_cannot_be_made(role: Any, tmp_path: Path) -> None:
    with pytest.raises(PolicyFault, match=r"role target at target0, when it was made: KeyError: 'x'; at ") as caught:
        role("return []", init="{}['x']")
    assert str(caught.value).endswith(line_of(tmp_path / "elsewhere.py", "{}['x']"))


@pytest.mark.parametrize("fault", ["import nothing_of_this_name", "raise SystemExit(3)"])
def test_a_policy_that_cannot_be_loaded_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    module = install(tmp_path, "return []")
    module.write_text(f"x = 1\n{fault}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "elsewhere", raising=False)
    with pytest.raises(BadInput, match=r"policy elsewhere \(elsewhere:SPEC\) cannot be loaded: ") as caught:
        registry.get("elsewhere")
    assert str(caught.value).endswith(f"; at {module}:2")


def test_a_fault_of_our_own_policies_is_named_too() -> None:
    spec = registry.get("autoregressive")
    made = spec.role("target", spec.parse({}), RoleContext("target0", PEERS))
    with pytest.raises(PolicyFault, match="policy autoregressive, role target at target0, on VerifyReady"):
        made.handle(VerifyReady(1, 4, 0, (1,), (0.0,), 1.0), 0.0)  # of a job that nobody asked for


@pytest.mark.slow
def test_a_simulation_ends_with_the_line_and_keeps_the_traceback(tmp_path: Path) -> None:
    module = install(tmp_path, "return {}['x']")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "testbed", "run", "experiments/quickstart.yaml", "policies=[elsewhere]"),
            *("workload.requests=1", "--engine", "simulation", "--out", str(tmp_path / "runs")),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("testbed: ")]
    assert "policy elsewhere, role target at target0, on MessageReceived(Request from user0) of request 1" in line
    assert f"KeyError: 'x'; at {line_of(module, '{}[')}; log: " in line
    assert "Traceback" in Path(line.partition("; log: ")[2]).read_text() and "Traceback" not in done.stderr
