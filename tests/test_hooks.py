"""The hooks of .pre-commit-config.yaml: what `make check` runs, by the project's own environment, without a network."""

import re
from pathlib import Path

from testbed.files.yamlfile import load_yaml

ROOT = Path(__file__).parents[1]


def test_hooks_are_make_check() -> None:
    data, _ = load_yaml(ROOT / ".pre-commit-config.yaml")
    (repository,) = data["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    hooks = [hook["entry"].removeprefix(".venv/bin/python -m ") for hook in repository["hooks"]]
    recipe = re.search(r"^check: setup\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    checks = [line.strip().removeprefix("$(PY) -m ").replace(" .", "") for line in recipe[1].splitlines()]
    assert hooks == checks
