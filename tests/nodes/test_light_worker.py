"""A worker of a lean model: no torch, weights mapped from one file, and the tokens that transformers gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from testbed.models import packs
from testbed.models.compute import Compute
from testbed.models.devices import load_profile
from testbed.models.fit import Fitness
from testbed.models.fitness import require_fit
from testbed.models.limits import Text
from testbed.models.load import load_model, model_hash
from testbed.models.lookup import LOOKUP, LookupRuntime
from testbed.models.passes import passes_of
from testbed.nodes.jobs import Answer, Refused, Reply, Submit, WorkerConfig, WorkerReady, frame
from testbed.policies.api import Draft, DraftReady, DraftTree, TreeDraftReady, Verify, VerifyReady
from testbed.wire.framing import Frames

MODELS = {"target": "tiny-target", "draft": "tiny-draft"}
PROFILES = {
    "target": load_profile("l40s/llama-3.1-8b").timing,
    "draft": load_profile("l40s/llama-3.2-1b").timing,
}
HEAVY = ("torch", "transformers", "tokenizers", "pydantic", "yaml", "pandas", "pyarrow", "matplotlib", "scipy")
CHILD = f"""
import json, sys
from testbed.nodes.worker import main
status = main(int(sys.argv[1]))
print(json.dumps([one for one in {HEAVY} if one in sys.modules]))
sys.exit(status)
"""
DRAFT = Draft(0, 7, 0, tuple(range(5, 40)), 4)
VERIFY = Verify(1, 7, 0, tuple(range(5, 40)), 3)
TREE = DraftTree(2, 7, 35, (40,), nodes=(), parents=(), leaves=(-1,), width=2, fresh=1)
JOBS = (DRAFT, VERIFY, TREE)


@pytest.fixture
def fitness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fitness:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return require_fit(MODELS, {}, [Text("p1", (5, 6, 7), 60)])


def answers(config: WorkerConfig) -> tuple[WorkerReady, list[Answer], list[str], set[str]]:
    """What the worker said, which of `HEAVY` it had imported, and which packs it had mapped."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        theirs.close()
        ours.settimeout(60)
        ours.sendall(frame(config))
        for one in JOBS:
            ours.sendall(frame(Submit(one, 1)))
        frames, bodies = Frames(), []
        while len(bodies) < 1 + len(JOBS):
            data = ours.recv(1 << 16)
            assert data, "the worker ended"
            bodies += frames.feed(data)
        maps = Path(f"/proc/{child.pid}/maps").read_text().splitlines()
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    ready, *answered = (msgspec.msgpack.decode(body, type=Reply) for body in bodies)
    assert isinstance(ready, WorkerReady)
    mapped = {line.split()[5] for line in maps if line.endswith(".pack")}
    return ready, [one for one in answered if isinstance(one, Answer)], json.loads(said), mapped


@pytest.mark.slow
def test_a_lean_worker_has_no_torch_and_says_the_tokens_of_transformers(fitness: Fitness) -> None:
    ready, (drafted, verified, tree), heavy, mapped = answers(WorkerConfig(MODELS, PROFILES, fitness=fitness))
    assert heavy == [] and mapped == set(fitness.packs.values())
    assert ready.passes == {"target": "lean", "draft": "lean"}
    assert ready.models == {role: model_hash(name) for role, name in MODELS.items()}
    assert 0 < ready.resident_mb < 100
    models = {role: load_model(name, threads=1).model for role, name in MODELS.items()}
    runtimes = {role: passes_of(model, "transformers").runtime() for role, model in models.items()}
    compute = Compute(runtimes, {role: lambda tokens: [tokens] for role in MODELS})
    verdict = compute.verify(VERIFY)[0]
    assert isinstance(drafted.ready, DraftReady) and isinstance(verified.ready, VerifyReady)
    assert drafted.ready.tokens == compute.draft(DRAFT)[0].tokens
    assert (verified.ready.accepted, verified.ready.tokens) == (verdict.accepted, verdict.tokens)
    assert isinstance(tree.ready, TreeDraftReady) and tree.ready.tokens == compute.draft_tree(TREE)[0].tokens


@pytest.mark.slow
def test_a_worker_that_is_told_to_uses_transformers(fitness: Fitness) -> None:
    config = WorkerConfig(MODELS, PROFILES, passes="transformers", fitness=fitness)
    ready, _, heavy, mapped = answers(config)
    assert "torch" in heavy and not mapped
    assert ready.passes == dict.fromkeys(MODELS, "transformers (as asked)")


def test_a_worker_says_in_one_line_that_its_weights_are_gone(fitness: Fitness) -> None:
    for path in fitness.packs.values():
        Path(path).unlink()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        from testbed.nodes.worker import serve

        ours.sendall(frame(WorkerConfig(MODELS, PROFILES, fitness=fitness)))
        assert serve(theirs) == 3
        (body,) = Frames().feed(ours.recv(1 << 16))
    assert "is gone or damaged" in msgspec.msgpack.decode(body, type=Refused).error


@pytest.mark.slow
def test_a_worker_says_why_transformers_loaded_a_lean_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packs, "SPARE_BYTES", 1 << 60)
    fitness = require_fit(MODELS, {}, [Text("p1", (5, 6, 7), 60)])
    ready, _, heavy, mapped = answers(WorkerConfig(MODELS, PROFILES, fitness=fitness))
    assert "torch" in heavy and not mapped
    assert ready.passes == {role: f"lean (loaded by transformers: {fitness.unpacked[role]})" for role in MODELS}


def test_a_place_is_the_same_for_engine_and_node(fitness: Fitness) -> None:
    assert fitness.packs == {role: str(packs.place(name)) for role, name in MODELS.items()}


@pytest.mark.slow
def test_a_worker_drafts_without_a_model(fitness: Fitness) -> None:
    """Prompt lookup beside a target: no weights but the target's."""
    models = {"target": "tiny-target", "draft": LOOKUP}
    fitness = require_fit(models, {}, [Text("p1", (5, 6, 7), 60)])
    ready, (drafted, verified, _), heavy, mapped = answers(WorkerConfig(models, PROFILES, fitness=fitness))
    assert heavy == [] and mapped == {fitness.packs["target"]}
    assert ready.passes == {"target": "lean", "draft": LOOKUP} and ready.models["draft"] == model_hash(LOOKUP)
    assert isinstance(drafted.ready, DraftReady) and isinstance(verified.ready, VerifyReady)
    compute = Compute({"draft": LookupRuntime(2048)}, {"draft": lambda tokens: [tokens]})
    assert drafted.ready.tokens == compute.draft(DRAFT)[0].tokens
