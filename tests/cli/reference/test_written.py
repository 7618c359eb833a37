"""What is written from the code is current, and the shipped files fit the schemas that their first lines name."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from testbed import errors
from testbed.cli.entry import INTERRUPTED
from testbed.cli.main import app
from testbed.cli.reference import commandline, kept
from testbed.cli.reference.schemas import KINDS, of
from testbed.cli.reference.tables import tables
from testbed.files.yamlfile import load_yaml
from testbed.policies import registry

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(
    path.relative_to(ROOT)
    for pattern in ("experiments/**/*.yaml", "topologies/*.yaml", "testbed/models/profiles/*/*.yaml")
    for path in ROOT.glob(pattern)
)
FIRST_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


def test_schemas_and_pages_are_what_the_code_says() -> None:
    assert kept.stale(ROOT, kept.files()) == [], "run `make docs`"


def test_no_page_is_left_of_what_is_gone() -> None:
    files = kept.files()
    there = [path for folder in (kept.SCHEMAS, kept.REFERENCE) for path in (ROOT / folder).iterdir()]
    assert {str(path.relative_to(ROOT)) for path in there} == set(files)


def _plain(value: Any) -> Any:
    """As JSON has it: dates are text."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def test_every_shipped_file_names_its_schema_and_fits_it() -> None:
    assert len(SHIPPED) > 40
    wrong = []
    for path in SHIPPED:
        named = FIRST_LINE.match((ROOT / path).read_text("utf-8"))
        schema = None if named is None else (ROOT / path.parent / named[1]).resolve()
        if schema is None or schema.parent != ROOT / kept.SCHEMAS or not schema.is_file():
            wrong.append(f"{path}: its first line names no file of {kept.SCHEMAS}/")
            continue
        validator = Draft202012Validator(json.loads(schema.read_text("utf-8")))
        wrong += [
            f"{path}: {one.json_path}: {one.message}"
            for one in validator.iter_errors(_plain(load_yaml(ROOT / path)[0]))
        ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_and_refuses_an_unknown_key(kind: str) -> None:
    schema = of(kind, registry.shipped())
    Draft202012Validator.check_schema(schema)
    if kind != "prompts":  # whose other keys are for readers
        unknown = [
            one for one in Draft202012Validator(schema).iter_errors({"nonsense": 1}) if "nonsense" in one.message
        ]
        assert unknown


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"policies": [{"wanspec": {"k": 2, "label": "x"}}, "sled", {"speculative": None}, "mine.py:SPEC"]}, True),
        ({"policies": [{"mine.py:SPEC": {"anything": 3}}]}, True),
        ({"matrix": {"seed": {"from": 1, "to": 9, "count": 9}, "network.rtt_ms": [1, 2]}}, True),
        ({"policies": [{"wanspec": {"kk": 2}}]}, False),
        ({"policies": ["wanspek"]}, False),
        ({"policies": [{"wanspec": {"k": 99}}]}, False),
        ({"seed": -1}, False),
        ({"matrix": {"seed": 3}}, False),
        ({"workload": {"prompts": "prose", "requests": 1, "arrivals": "poisson"}}, False),
        ({"workload": {"prompts": "prose", "requests": 1, "arrivals": {"poisson": {"rate_per_s": 2}}}}, True),
    ],
)
def test_the_schema_of_experiments_takes_what_the_testbed_takes(change: dict[str, Any], fits: bool) -> None:
    data = {"name": "a", "topology": "two-sites", "workload": {"prompts": "prose", "requests": 1},
            "models": {"target": "tiny-target", "draft": "tiny-draft"}, "place": {"user": "a", "target": "a"},
            "policies": ["autoregressive"], **change}  # fmt: skip
    assert Draft202012Validator(of("experiment", registry.shipped())).is_valid(data) is fits


def test_every_argument_and_option_says_what_it_is() -> None:
    verbs = commandline.verbs(app)
    assert len(verbs) > 20
    bare = [f"{verb.name} {one.name}" for verb in verbs for one in verb.parameters if not one.help]
    bare += [verb.name for verb in verbs if not verb.call.__doc__]
    assert bare == []


def test_every_column_of_a_run_says_what_it_holds() -> None:
    bare = [f"{table.file} {column.name}" for table in tables() for column in table.columns if not column.description]
    assert bare == []


def test_every_exit_status_is_explained() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.TestbedError)]
    assert {0, INTERRUPTED, *(kind.exit_code for kind in kinds)} == set(errors.EXIT_STATUSES)
