"""Experiments and overrides in the forms that Python gives them: a file, a shipped name, or a mapping.

Rule kept: whatever the form, the experiment is a file in the end, so that it is read and refused as on the command
line. Paths in a mapping are relative to the current folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from testbed.errors import BadInput, TestbedError
from testbed.experiment.document import from_here
from testbed.experiment.filepaths import anchored
from testbed.files import named

Experiment = str | Path | Mapping[str, Any]
Overrides = Mapping[str, Any] | Sequence[str] | None

GIVEN = "experiment"  # what a mapping is called in messages


@contextmanager
def as_file(experiment: Experiment) -> Iterator[Path]:
    """The experiment's file. Inside, errors about a mapping do not name the temporary file that it is written to."""
    if not isinstance(experiment, Mapping):
        yield named.experiment(str(experiment))
        return
    with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
        path = Path(folder) / f"{GIVEN}.yaml"
        path.write_text(_yaml(here(experiment)), encoding="utf-8")
        try:
            yield path
        except TestbedError as error:
            words = str(error).replace(str(path), GIVEN)
            if words == str(error):
                raise
            error.args = (words,)
            raise


def here(data: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, for a file in another folder."""
    plain: dict[str, Any] = anchored(_plain(data), Path.cwd())
    return {key: from_here(key, value) for key, value in plain.items()}


def as_overrides(overrides: Overrides, **more: Any) -> list[str]:
    """`key=value` texts of overrides; `more` are those given by keyword, left out where None."""
    if isinstance(overrides, str):
        raise BadInput(f"overrides: a mapping or a list of texts, as in [{overrides!r}]")
    if isinstance(overrides, Mapping):
        found = [f"{key}={_value(value)}" for key, value in overrides.items()]
    else:
        found = list(overrides or ())
    return found + [f"{key}={_value(value)}" for key, value in more.items() if value is not None]


def _value(value: Any) -> str:
    """On one line, as an override has it."""
    return _yaml(value, default_flow_style=True).removesuffix("...\n").strip()


def _yaml(value: Any, **options: Any) -> str:
    try:
        text: str = yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=2**30, **options)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise BadInput(f"{GIVEN}: it may hold numbers, texts, lists and mappings only ({words})") from error
    return text


def _plain(value: Any) -> Any:
    """Lists and mappings of every kind as YAML's own; numpy's numbers as Python's; paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
