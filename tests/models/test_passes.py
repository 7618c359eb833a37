"""Which path a model takes: lean where it is known and not forbidden, and said in words where it is not."""

from __future__ import annotations

import gc
import weakref

import pytest

from testbed.errors import BadInput
from testbed.models.batch import BatchRuntime
from testbed.models.devices import load_profile
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.passes import passes_of
from testbed.nodes.jobs import WorkerConfig
from testbed.nodes.worker import LoadedModels
from tests.models.lean_examples import KNOWN, UNKNOWN, build

DEVICES = {"draft": load_profile("raspberry-pi-5/qwen3-0.6b-q4").timing}
WINDOW = "mistral with a window"


def test_a_known_model_is_lean_by_itself() -> None:
    passes = passes_of(build(*KNOWN["llama"]))
    assert (passes.path, passes.described) == ("lean", "lean")
    assert isinstance(passes.runtime(), LeanRuntime)


def test_transformers_can_be_forced() -> None:
    passes = passes_of(build(*KNOWN["llama"]), "transformers")
    assert passes.described == "transformers (as asked)"
    assert isinstance(passes.runtime(), BatchRuntime)


def test_an_unknown_model_takes_transformers_and_says_why() -> None:
    passes = passes_of(build(*UNKNOWN[WINDOW][:2]))
    assert passes.described == "transformers (not lean: it has a sliding window)"
    assert isinstance(passes.runtime(), BatchRuntime)


def test_lean_cannot_be_forced_on_an_unknown_model() -> None:
    with pytest.raises(BadInput, match=r"MistralForCausalLM has no lean implementation: it has a sliding window; .*"):
        passes_of(build(*UNKNOWN[WINDOW][:2]), "lean")


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2", "neox"])
def test_a_lean_path_does_not_keep_the_model(name: str) -> None:
    """So a worker holds its weights once."""
    model = build(*KNOWN[name])
    passes = passes_of(model)
    gone = weakref.ref(model)
    weights = [weakref.ref(one) for one in model.parameters()]
    del model
    gc.collect()
    assert gone() is None and not any(one() is not None for one in weights)
    passes.runtime().forward(0, 0, [1, 2, 3])


def test_caches_are_of_one_runtime() -> None:
    passes = passes_of(build(*KNOWN["llama"]))
    one, other = passes.runtime(), passes.runtime()
    one.forward(0, 0, [1, 2])
    assert (one.length(0), other.length(0)) == (2, 0)


@pytest.mark.parametrize(("choice", "path"), [("auto", "lean"), ("transformers", "transformers (as asked)")])
def test_a_worker_says_which_path_it_took(choice: str, path: str) -> None:
    models = LoadedModels(WorkerConfig({"draft": "tiny-draft"}, DEVICES, passes=choice))
    models.compute()
    assert models.ready().passes == {"draft": path}
