"""An engine loads what its run needs and no more: inputs of models that were seen before are read without PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
READ = f"""
import json, sys
from pathlib import Path
from testbed.emulation import engine
from testbed.experiment.document import load_scenario
inputs = engine.read(load_scenario(Path({str(EXPERIMENT)!r})), engine.Options(fabric="relay", nodes="process"))
heavy = [name for name in ("torch", "transformers") if name in sys.modules]
print(json.dumps([heavy, sorted(inputs.fitness.packs), inputs.run_id]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a fabric is looked for, which needs root")
def test_inputs_of_known_models_are_read_without_torch(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def read() -> list[object]:
        done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, env=environment, check=True)
        found: list[object] = json.loads(done.stdout)
        return found

    first, second = read(), read()
    assert first[0] == ["torch", "transformers"] and second[0] == []
    assert first[1:] == second[1:] and second[1] == ["draft", "target"]
