"""Which image a node's container gets: with PyTorch only where the node's worker would load a model by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.containers.images import ROLES, WITH_TORCH, Image
from testbed.emulation import nodekind
from testbed.emulation.loads import loads
from testbed.emulation.nodekind import NodeKind, fitted
from testbed.experiment.document import load_scenario
from testbed.models.lookup import LOOKUP
from tests.run_examples import experiment

BOTH = ("target", "draft")
TORCH = {"target0": f"verifier{WITH_TORCH}", "drafter0": f"drafter{WITH_TORCH}"}


def image(kind: str) -> Image:
    return Image(kind, f"sha256:{kind}", "10001:10001", 1, {})


def for_roles(client: object, roles: set[str], torch: bool = False) -> dict[str, Image]:
    return {role: image(f"{ROLES[role]}{WITH_TORCH if torch else ''}") for role in roles}


@pytest.mark.parametrize(
    ("compute", "draft", "packed", "heavy"),
    [
        ({}, "tiny-draft", BOTH, ()),
        ({}, "tiny-draft", ("target",), ("target0", "drafter0")),  # both run the drafter
        ({}, "tiny-draft", ("draft",), ("target0",)),
        ({}, LOOKUP, ("target",), ()),
        ({"target": {"passes": "transformers"}}, "tiny-draft", BOTH, ("target0",)),
        ({"drafter0": {"accelerator": "cuda"}}, "tiny-draft", BOTH, ("drafter0",)),
        ({"drafter0": {"accelerator": "cuda"}}, LOOKUP, BOTH, ()),
    ],
)
def test_pytorch_is_where_a_worker_needs_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compute: dict[str, object],
    draft: str,
    packed: tuple[str, ...],
    heavy: tuple[str, ...],
) -> None:
    models = {"target": "tiny-target", "draft": draft}
    scenario = load_scenario(experiment(tmp_path, compute=compute, models=models))
    monkeypatch.setattr(nodekind, "for_roles", for_roles)
    light = {name: image(ROLES[role]) for name, (role, _) in scenario.place.nodes().items()}
    found = fitted(NodeKind("docker", "asked", object(), light), scenario, loads(scenario), packed)
    assert {name: one.name for name, one in found.images.items()} == {
        "user0": "drafter", "target0": "verifier", "drafter0": "drafter", **{name: TORCH[name] for name in heavy}
    }  # fmt: skip
    assert set(found.ingredients()) == {f"image {one.name}" for one in found.images.values()}


def test_processes_have_no_images(tmp_path: Path) -> None:
    scenario = load_scenario(experiment(tmp_path))
    kind = NodeKind("process", "asked")
    assert fitted(kind, scenario, loads(scenario), ()) is kind
