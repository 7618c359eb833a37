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
    makefile = (ROOT / "Makefile").read_text()
    assert "\ncheck: style types\n" in makefile
    recipes = re.findall(r"^(?:style|types): setup\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    checks = [line.split("$(PY) -m ")[1].replace(" .", "") for recipe in recipes for line in recipe.splitlines()]
    assert hooks == checks
