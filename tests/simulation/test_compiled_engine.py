"""A whole experiment by either kernel: the same bytes in every table; the manifest says which it was (invariant 3)."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import POLICIES, decode_table, inputs_of, scenario

from testbed.progress import ConsoleProgress
from testbed.results.store import RECORDS, RunDirectory
from testbed.scenario import load_scenario
from testbed.simulation.compiled import jit
from testbed.simulation.engine import Options, rows_of, run, simulate
from testbed.simulation.inputs import from_scenario
from testbed.simulation.phases import COMPILED, COMPILED_FROM_TOKENS, why_objects
from testbed.simulation.world import NO_OVERHEADS

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ("quickstart.yaml", "wanspec/same-coast.yaml", "wanspec/cross-country.yaml")


def digests(inputs, way, path):
    """The run's tables as files, and which kernel made each policy's rows."""
    simulated = simulate(inputs, way=way)
    path.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(path)
    for kind, rows in rows_of(inputs, simulated).items():
        directory.write_rows(kind, rows)
    files = {kind: hashlib.sha256((path / f"{kind}.parquet").read_bytes()).hexdigest() for kind in RECORDS}
    return files, simulated.log.ways


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_shipped_experiment_gives_the_same_bytes_by_either_kernel(name, tmp_path):
    """On the shipped table of the real pair, to the bytes of every file."""
    inputs = from_scenario(load_scenario(ROOT / "experiments" / name), None, NO_OVERHEADS, print)
    compiled, ways = digests(inputs, "compiled", tmp_path / "compiled")
    assert set(ways.values()) == {COMPILED}
    objects, ways = digests(inputs, "objects", tmp_path / "objects")
    assert COMPILED not in ways.values()
    assert compiled == objects


def test_phases_of_both_kernels_stand_in_one_log(tmp_path, monkeypatch):
    """One policy is declined: its rows stand between those of the others as if one kernel had made all."""
    from testbed.simulation import phases

    inputs = inputs_of(scenario(*POLICIES, repeats=2), decode_table(0.7))
    real = phases.supports

    def supports(spec, entry, planned, table):
        return "a test says so" if entry.name == "speculative" else real(spec, entry, planned, table)

    monkeypatch.setattr(phases, "supports", supports)
    mixed, ways = digests(inputs, "compiled", tmp_path / "mixed")
    assert ways == {"autoregressive": COMPILED, "speculative": "objects: a test says so", "wanspec": COMPILED}
    assert mixed == digests(inputs, "objects", tmp_path / "objects")[0]


def test_rows_of_columns_read_like_structs():
    inputs = inputs_of(scenario(*POLICIES), decode_table(0.7))
    compiled, objects = (rows_of(inputs, simulate(inputs, way=way)) for way in ("compiled", "objects"))
    for kind in ("rounds", "steps", "messages"):
        ours, theirs = compiled[kind], objects[kind]
        assert len(ours) == len(theirs)
        assert list(ours) == theirs
        for index in (0, 5, len(theirs) - 1, -1, -len(theirs)):
            assert ours[index] == theirs[index]
        assert list(ours[3:40:7]) == theirs[3:40:7]
        with pytest.raises(IndexError):
            ours[len(theirs)]


def test_every_finished_request_is_told_once():
    inputs = inputs_of(scenario(*POLICIES), decode_table(0.7))
    told = {way: [] for way in ("compiled", "objects")}
    for way, tokens in told.items():
        simulate(inputs, on_done=tokens.append, way=way)
    assert told["compiled"] == told["objects"] and sum(told["objects"]) == 3 * 4 * 60


def test_a_small_experiment_does_not_wait_for_the_compiler():
    assert "fewer than" in why_objects(None, COMPILED_FROM_TOKENS - 1)
    assert why_objects(None, COMPILED_FROM_TOKENS) is None
    assert why_objects("compiled", 1) is None and why_objects("objects", 10**9) == "asked for"
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from made_up import POLICIES, decode_table, rows\n"
        "rows(decode_table(0.7), *POLICIES)\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_manifest_says_which_kernel_ran_and_why(tmp_path):
    table = tmp_path / "made-up.parquet"
    decode_table(0.7).write(table)
    outcome = run(scenario("autoregressive"), Options(tmp_path / "runs", str(table)), ConsoleProgress(4))
    assert outcome.manifest["kernels"] == {"autoregressive": "objects: fewer than 50000 output tokens"}


def test_machine_code_is_kept_for_exactly_the_sources_it_was_made_of(tmp_path):
    """Numba's cache looks at one file; a change in a module that the loop calls must not be overlooked."""
    for path in Path(jit.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert jit.sources(tmp_path) == jit.sources()
    for path in tmp_path.glob("*.py"):
        before = path.read_bytes()
        path.write_bytes(before + b"#")
        assert jit.sources(tmp_path) != jit.sources(), path.name
        path.write_bytes(before)
