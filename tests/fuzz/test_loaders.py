"""Every loader answers every file with a value or one line, within its time and memory: a bounded part of the fuzz.

By structure (hypothesis: right files with one value or key exchanged) and by seeded mutations of shipped files. The
long run, guided by coverage, is `python -m testbed.bench fuzz`.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.bench import fuzz
from testbed.bench.fuzzloaders import LOADERS, SMALL, Loader
from testbed.errors import BadInput
from testbed.network.spec.mininet_topo import wires_of

INPUTS, MOST_S = 500, 120.0  # a loader: the same inputs on every machine, however busy

PLAIN = st.sampled_from(
    ["0100", "1:30", "yes", ".inf", "-.INF", ".nan", "1e999", "1e-999", "50%", "1,5", "1_000", "true", "null", "~", "",
     "''", "2026-01-01", "2026-02-30", "9" * 25, "0x" + "f" * 30, "-1", "0", "1e300", "1e-300", "[]", "{}", "[1, [2]]",
     "{a: b}", "*x", "&x 1", "!!int x", "!x y", "\u0661", "a: b: c", "'", '"', "\t", "\x07", "\u2028", "[[[[", "near",
     "x" * 300]
)  # fmt: skip
VALUES = st.one_of(PLAIN, st.text(max_size=12), st.integers().map(str), st.floats().map(repr))


def refused_or_read(name: str, content: bytes) -> None:
    found = fuzz.Found()
    with tempfile.TemporaryDirectory() as folder:
        fuzz.one_input(LOADERS[name], content, Path(folder), found)
    assert not found.bad


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    if isinstance(data, dict):
        found += [place for key, value in data.items() for place in places(value, (*at, key))]
    if isinstance(data, list):
        found += [place for index, value in enumerate(data) for place in places(value, (*at, index))]
    return found


def exchanged(text: str, place: tuple[Any, ...], value: str) -> str:
    """The document with the raw text `value` at a place."""
    data = yaml.load(text, yaml.CSafeLoader)
    at = data
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = "@PLACE@"
    return yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, width=10_000).replace("'@PLACE@'", value)


EXPERIMENT_PLACES = places(yaml.safe_load(SMALL))[1:]
TOPOLOGY = LOADERS["topology"].seeds()[0].decode()
TOPOLOGY_PLACES = places(yaml.safe_load(TOPOLOGY))[1:]
PROFILE = LOADERS["profile"].seeds()[0].decode()
PROFILE_PLACES = places(yaml.safe_load(PROFILE))[1:]
BOUNDED = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@BOUNDED
@given(st.sampled_from(EXPERIMENT_PLACES), VALUES)
@pytest.mark.slow
def test_an_experiment_with_any_value_anywhere(place: tuple[Any, ...], value: str) -> None:
    refused_or_read("experiment", exchanged(SMALL, place, value).encode("utf-8", "surrogatepass"))


@BOUNDED
@given(st.sampled_from(TOPOLOGY_PLACES), VALUES)
def test_a_topology_with_any_value_anywhere(place: tuple[Any, ...], value: str) -> None:
    refused_or_read("topology", exchanged(TOPOLOGY, place, value).encode("utf-8", "surrogatepass"))


@BOUNDED
@given(st.sampled_from(PROFILE_PLACES), VALUES)
def test_a_device_with_any_value_anywhere(place: tuple[Any, ...], value: str) -> None:
    refused_or_read("profile", exchanged(PROFILE, place, value).encode("utf-8", "surrogatepass"))


@BOUNDED
@given(st.sampled_from([".".join(map(str, place)) for place in EXPERIMENT_PLACES]) | st.text(max_size=20), VALUES)
def test_an_override_of_any_key_with_any_value(key: str, value: str) -> None:
    refused_or_read("override", f"{key}={value}".encode("utf-8", "surrogatepass"))


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=3),
              st.just(object)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
OPTIONS = ["cls", "params1", "params2", "bw", "delay", "jitter", "loss", "use_htb", "max_queue_size", "port1"]


@BOUNDED
@given(st.dictionaries(st.sampled_from(OPTIONS), ANYTHING, max_size=4))
def test_a_topo_s_link_with_any_options(options: dict[str, Any]) -> None:
    class Topo:
        def iterLinks(self, withInfo: bool) -> list[Any]:  # noqa: N802, N803  # Mininet's names
            return [("a", "b", options)]

    try:
        wires_of(Topo())
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LOADERS))
def test_mutated_files_are_read_or_refused_in_one_line(name: str) -> None:
    found = fuzz.plain(LOADERS[name], INPUTS, MOST_S, seed=1)
    assert not found.bad
    assert found.inputs == INPUTS, found.line(name)


def test_the_fuzz_finds_what_it_looks_for(tmp_path: Path) -> None:
    """A loader that raises, one that hangs, one that grows and one of two lines are each caught."""

    def read(path: Path) -> object:
        word = path.read_bytes()
        if word == b"raise":
            raise KeyError("x")
        if word == b"hang":
            while True:
                pass
        if word == b"lines":
            raise BadInput("a\nb")
        return bytearray(b"x" * (300 << 20)) if word == b"grow" else None

    loader = Loader("bad", ".x", read, lambda: [b"fine"])
    found, fuzz_limit = fuzz.Found(), fuzz.LIMIT_S
    fuzz.LIMIT_S = 0.2
    try:
        for word in (b"fine", b"raise", b"hang", b"lines"):
            fuzz.one_input(loader, word, tmp_path, found)
    finally:
        fuzz.LIMIT_S = fuzz_limit
    assert (found.inputs, found.accepted, len(found.bad)) == (4, 1, 3)
    assert fuzz.mutated([b"abc"], random.Random(1)) == fuzz.mutated([b"abc"], random.Random(1))
