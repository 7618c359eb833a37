"""`testbed.testing`: every shipped policy keeps every property, and a policy that breaks one is caught at it."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from testbed.cli.main import app
from testbed.policies import registry
from testbed.testing import PROPERTIES, Broken, check, check_lossless, examine
from testbed.testing.purity import Watch
from tests.policies.policy_file import LOOKUP, write_policy

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("speculative", {"draft": "sampled"}),
    ("wanspec", {"branches": 2}),
    ("wanspec", {"rule": "expected_arrival"}),
    ("sled", {"timeout_ms": 30.0}),
    ("wisp", {"stop": "fixed"}),
]

# What is changed in the policy of `policy_file`, and the property that breaks.
BROKEN: dict[str, tuple[str, Callable[[str], str]]] = {
    "emits its drafts without waiting for a verdict": (
        "lossless",
        lambda text: text.replace(
            "settled = session.verified(event)",
            "settled = session.verified(replace(event, tokens=tuple((t + 1) % 12 for t in event.tokens)))",
        ).replace("from pydantic", "from msgspec.structs import replace\nfrom pydantic"),
    ),
    "keeps its caches": (
        "conservation",
        lambda text: text.replace(
            "commands += session.answer(settled)",
            "commands += [one for one in session.answer(settled) if type(one).__name__ != 'Finish']",
        ),
    ),
    "starts two passes at once": (
        "conservation",
        lambda text: text.replace(
            "return commands + self._queue.start(self._next)",
            "started = self._queue.start(self._next)\n        return commands + started + started",
        ),
    ),
    "imports a clock": ("purity", lambda text: f"import time\n{text}"),
    "reads a clock by another name": (
        "purity",
        lambda text: (
            f"from importlib import import_module\nclock = import_module('ti' + 'me').monotonic\n{text}".replace(
                "commands = []", "clock()\n        commands = []"
            )
        ),
    ),
    "draws at random": (
        "purity",
        lambda text: f"import numpy as np\n{text}".replace(
            "commands = []", "np.random.random()\n        commands = []"
        ),
    ),
    "opens a file": (
        "purity",
        lambda text: text.replace("commands = []", "open('/dev/null').close()\n        commands = []"),
    ),
    "waits for what never comes": (
        "no deadlock",
        lambda text: text.replace("case VerifyReady():", "case VerifyReady() if event.tokens[0] % 5:"),
    ),
    "sets timers for ever": (
        "no deadlock",
        lambda text: text.replace("MessageReceived,", "MessageReceived, SetTimer,").replace(
            "commands = []", "commands = [SetTimer('again', now + 1.0)]"
        ),
    ),
    "raises": ("no deadlock", lambda text: text.replace("commands = []", "commands = [][len([])]")),
    "counts what it did in other runs": (
        "determinism",
        lambda text: f"DONE = []\n{text}".replace("commands = []", "DONE.append(1)\n        commands = []").replace(
            "session.depth(self._k)", "session.depth(1 + len(DONE) // 7 % 3)"
        ),
    ),
}


@pytest.mark.parametrize("name", registry.names())
def test_shipped_policies_keep_every_property(name: str) -> None:
    findings = check(registry.get(name))
    assert [one.property for one in findings] == list(PROPERTIES)
    assert all(one.runs for one in findings)


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_so_do_their_variants(name: str, params: dict[str, Any]) -> None:
    check(registry.get(name), params)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_policy_is_caught_at_the_property_that_it_breaks(what: str, tmp_path: Path) -> None:
    property_, change = BROKEN[what]
    text = change(LOOKUP)
    assert text != LOOKUP
    spec = registry.find(f"{write_policy(tmp_path, text)}:SPEC")[2]
    found = {one.property: one for one in examine(spec)}
    assert not found[property_].holds, found
    assert "\n" not in found[property_].said and found[property_].said
    with pytest.raises(Broken):
        check(spec)


def test_the_whole_policy_of_a_file_is_right(tmp_path: Path) -> None:
    spec = registry.find(f"{write_policy(tmp_path)}:SPEC")[2]
    assert check_lossless(spec).runs > 30
    check(spec, {"k": 1})


def test_the_verb_says_it_and_its_status_too(tmp_path: Path) -> None:
    run = CliRunner().invoke
    path = write_policy(tmp_path)
    done = run(app, ["policies", "check", f"{path}:SPEC", "k=2", "--json"])
    assert done.exit_code == 0, done.output
    assert [one["holds"] for one in json.loads(done.stdout)["findings"]] == [True] * len(PROPERTIES)
    path = write_policy(tmp_path / "other", f"import time\n{LOOKUP}")
    done = run(app, ["policies", "check", f"{path}:SPEC"])
    assert done.exit_code == 3
    assert "my_policy.py:1: uses time" in done.stdout
    assert "lossless" in done.stdout and "holds" in done.stdout


def test_policies_are_listed_and_shown() -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["policies", "list", "--json"]).stdout)["policies"]
    assert [one["name"] for one in listed] == registry.names()
    assert listed[registry.names().index("speculative")]["roles"] == {"target": ["draft", "target"], "user": []}
    for name in registry.names():
        shown = run(app, ["policies", "show", name])
        assert shown.exit_code == 0 and registry.get(name).description in shown.stdout
        for parameter in registry.get(name).params.model_fields:
            assert f"  {parameter} (" in shown.stdout


def test_what_is_called_when_garbage_is_collected_is_not_held_against_the_role() -> None:
    def clock(phase: str, info: object) -> None:
        time.perf_counter()

    before = gc.get_threshold()
    gc.callbacks.append(clock)
    gc.set_threshold(1)
    try:
        watch = Watch()
        watch(lambda: [[] for _ in range(50)])  # type: ignore[arg-type,misc]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(clock)
    assert watch.found is None and gc.isenabled()
