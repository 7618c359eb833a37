"""A file is recognised by its content, and everything that is wrong with it is told at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from testbed.cli.reference.validation import KINDS, check
from testbed.files.refusals import MOST_MISTAKES
from testbed.models.added import ADDITIONS
from tests.policies.policy_file import write_policy

ROOT = Path(__file__).parents[3]
SHIPPED = {
    "topology": "topologies/*.yaml",
    "device profile": "testbed/models/profiles/*/*.yaml",
    "device profile, by path": "workloads/devices/**/*.yaml",
    "claims": "experiments/*/claims.yaml",
    "prompt set": "workloads/prompts/*.jsonl",
    "RTT trace": "workloads/rtt/*.csv",
    "decode table": "workloads/tables/*.parquet",
    "controller": "testbed/training/controllers/*.json",
}
EXPERIMENTS = [path for path in ROOT.glob("experiments/**/*.yaml") if path.name != "claims.yaml"]
TOPO = """\
from mininet.topo import SingleSwitchTopo


class Star(SingleSwitchTopo):
    pass


topos = {"star": lambda: Star(2)}
"""


@pytest.mark.parametrize("kind", SHIPPED)
def test_what_ships_is_recognised_and_valid(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # claims name experiments
    paths = sorted(ROOT.glob(SHIPPED[kind]))
    assert paths
    for path in paths:
        found = check(str(path.relative_to(ROOT)))
        assert (found.kind, found.mistakes) == (kind.partition(",")[0], ()) and found.holds


@pytest.mark.slow
def test_every_shipped_experiment_is_valid_with_all_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One names a model that has to be added first, and no more is wrong with it than that."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    kinds = set()
    for path in EXPERIMENTS:
        found = check(str(path))
        if path.stem in ADDITIONS:
            (mistake,) = found.mistakes
            assert mistake.endswith(f"is not on this machine yet: testbed models add {path.stem}")
            continue
        assert found.mistakes == () and found.holds
        assert (found.kind == "sweep") == ("\nmatrix:" in path.read_text())
        kinds.add(found.kind)
    assert kinds == {"experiment", "sweep"}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("experiments/quickstart.yaml", "experiment"),
        ("topologies/two-sites.yaml", "topology"),
        ("testbed/models/profiles/l40s/llama-3.1-8b.yaml", "device profile"),
        ("workloads/prompts/prose.jsonl", "prompt set"),
        ("workloads/rtt/same-coast-spikes.csv", "RTT trace"),
        ("workloads/tables/tiny-prose.parquet", "decode table"),
        ("testbed/training/controllers/tiny-prose.json", "controller"),
    ],
)
def test_the_kind_is_told_by_content_not_by_name(source: str, kind: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / source, tmp_path / "file")
    assert check(str(tmp_path / "file")).kind == kind in KINDS


def test_python_is_a_policy_or_a_topology(tmp_path: Path) -> None:
    policy = write_policy(tmp_path)
    assert check(f"{policy}:SPEC").kind == "policy" and not check(f"{policy}:SPEC").mistakes
    (only,) = check(str(policy)).mistakes
    assert "name the policy" in only
    (missing,) = check(f"{policy}:SPECK").mistakes
    assert "SPEC" in missing
    topo = tmp_path / "star.py"
    topo.write_text(TOPO)
    for name in ("Star", "star"):
        found = check(f"{topo}:{name}")
        assert (found.kind, found.mistakes) == ("topology", ())


def experiment(path: Path, **changes: object) -> str:
    data = yaml.safe_load((ROOT / "experiments/quickstart.yaml").read_text())
    path.write_text(yaml.safe_dump({**data, **changes}))
    return str(path)


def test_all_that_an_experiment_names_is_checked_at_once(tmp_path: Path) -> None:
    text = experiment(
        tmp_path / "x.yaml",
        topology="aws-north-amerika",
        devices={"target": "h900", "drafter": "native"},
        models={"target": "tiny-targt", "draft": "tiny-draft"},
        outcomes={"table": "tiny-pros"},
    )
    found = check(text)
    assert found.kind == "experiment" and all(line.startswith(text) for line in found.mistakes)
    for name in ("aws-north-america", "h900", "tiny-target", "tiny-prose"):
        assert [name in line for line in found.mistakes].count(True) == 1, found.mistakes
    assert len(found.mistakes) == 4


def test_what_only_fits_together_is_checked_last(tmp_path: Path) -> None:
    (line,) = check(experiment(tmp_path / "x.yaml", place={"user": "mars", "target": "us-east-1"},
                               policies=["autoregressive"])).mistakes  # fmt: skip
    assert "no region 'mars'" in line


def test_the_points_of_a_sweep_are_checked_and_a_mistake_of_many_is_told_once(tmp_path: Path) -> None:
    matrix = {"seed": [1, 2, 3], "workload.prompts": ["prose", "prosa", "mixt"]}
    found = check(experiment(tmp_path / "x.yaml", matrix=matrix))
    assert found.kind == "sweep" and len(found.mistakes) == 2, found.mistakes


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(
        '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n{"id": "b"}\n\n{"id": "c", "text": ""}\n[\n'
    )
    assert [line.split(":")[1] for line in check(str(prompts)).mistakes] == ["2", "3", "5", "6"]
    trace = tmp_path / "t.csv"
    lines = (ROOT / "workloads/rtt/same-coast-spikes.csv").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line[0].isdigit())
    lines[first + 1], lines[first + 3] = "1,a,b", lines[first + 3].replace(",", ",,", 1)
    trace.write_text("\n".join(lines))
    assert [line.split(":")[1] for line in check(str(trace)).mistakes] == [str(first + 2), str(first + 4)]
    prompts.write_text("{}\n" * (MOST_MISTAKES + 5))
    *told, more = check(str(prompts)).mistakes
    assert len(told) == MOST_MISTAKES and "5 more mistakes" in more


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.yaml", "", "is empty"),
        ("x.yaml", "- a\n", "a mapping of keys is expected"),
        ("x.yaml", "name: x\ndescription: y\n", "none has its keys (name, description)"),
        ("x.json", '{"valid": true}', "none has its keys (valid)"),
        ("x.json", '{"layers": [', "JSON"),
        ("x.parquet", "text", "parquet"),
        ("x.py", "", "name the policy"),
        ("x", "\ud800", ""),
    ],
)
def test_what_is_nothing_is_refused_in_one_line(name: str, content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    (line,) = check(str(path)).mistakes
    assert line.startswith(str(path)) and words.lower() in line.lower() and "\n" not in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for text in (tmp_path / "none.yaml", tmp_path, f"{tmp_path}/none.py:SPEC"):
        (line,) = check(str(text)).mistakes
        assert str(tmp_path) in line
