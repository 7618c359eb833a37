"""Files by name or path: an experiment's paths are relative to it, an override's to where the command is given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from testbed.errors import BadInput
from testbed.experiment.document import read_experiment
from testbed.experiment.filepaths import anchor, anchored, anchored_value, choices
from testbed.experiment.progress import Silent
from testbed.experiment.resolve import resolve
from testbed.files import named
from testbed.simulation import engine
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.sweeps.plan import load_sweep

ROOT = Path(__file__).parents[2]
EXPERIMENT = {
    "name": "own",
    "topology": "net/own.yaml",
    "workload": {"prompts": "prose.jsonl", "requests": 2, "output_tokens": 20},
    "models": {"target": "tiny-target", "draft": "tiny-draft"},
    "devices": {"target": "own-device.yaml", "drafter": "l40s/llama-3.2-1b"},
    "outcomes": {"table": "own-table.parquet"},
    "place": {"user": "near", "target": "near", "drafter": "far"},
    "policies": ["autoregressive", {"wanspec": {"k": 3, "label": "three"}}],
}


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment with everything of its own beside it, seen from another folder."""
    folder = tmp_path / "work" / "mine"
    (folder / "net").mkdir(parents=True)
    for source, name in (
        ("topologies/two-sites.yaml", "net/own.yaml"), ("workloads/prompts/prose.jsonl", "prose.jsonl"),
        ("workloads/tables/tiny-prose.parquet", "own-table.parquet"),
        ("testbed/models/profiles/l40s/llama-3.1-8b.yaml", "own-device.yaml"),
    ):  # fmt: skip
        shutil.copy(ROOT / source, folder / name)
    (folder / "own.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    monkeypatch.chdir(tmp_path / "work")
    return Path("mine/own.yaml")


def test_paths_are_relative_to_the_file_and_those_of_overrides_to_the_caller(experiment: Path) -> None:
    found = read_experiment(experiment).scenario()
    assert (found.topology, found.workload.prompts) == ("mine/net/own.yaml", "mine/prose.jsonl")
    assert (found.devices.target, found.devices.drafter) == ("mine/own-device.yaml", "l40s/llama-3.2-1b")
    assert len(resolve(found).prompts.prompts) >= 40
    shutil.copy(ROOT / "topologies/aws-north-america.yaml", "here.yaml")
    assert read_experiment(experiment, ["topology=./here.yaml"]).scenario().topology == "./here.yaml"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("own.yaml", "a/b/own.yaml"),
        ("../own.yaml", "./a/own.yaml"),
        ("../../own.yaml", "./own.yaml"),
        ("/srv/own.yaml", "/srv/own.yaml"),
        ("topo.py:Star", "a/b/topo.py:Star"),
    ],
)
def test_a_path_stays_a_path(text: str, seen: str) -> None:
    assert anchor(text, Path("a/b")) == seen
    assert named.is_path(seen.partition(":")[0], named.TOPOLOGY)
    assert anchored({"topology": text, "name": text}, Path("a/b")) == {"topology": seen, "name": text}


def test_names_and_models_stay_as_they_are() -> None:
    data = {"topology": "two-sites", "models": {"target": "owner/model", "draft": "./mine"}}
    assert anchored(data, Path("a")) == {
        "topology": "two-sites",
        "models": {"target": "owner/model", "draft": "./a/mine"},
    }
    params = {"policies": [{"wisp": {"controller": "mine.json", "label": "mine"}}]}
    assert anchored(params, Path("a")) == {"policies": [{"wisp": {"controller": "a/mine.json", "label": "mine"}}]}


def test_swept_paths_are_relative_to_the_file_too(experiment: Path) -> None:
    assert anchored_value("topology", "own.yaml", Path("a")) == "a/own.yaml"
    assert anchored_value("workload", {"prompts": "own.jsonl"}, Path("a")) == {"prompts": "a/own.jsonl"}
    data = {**EXPERIMENT, "matrix": {"topology": ["net/own.yaml", "two-sites"]}}
    experiment.write_text(yaml.safe_dump(data))
    assert [point.scenario.topology for point in load_sweep(experiment).points] == ["mine/net/own.yaml", "two-sites"]


def test_it_is_said_which_file_was_taken_where_a_name_means_several(experiment: Path) -> None:
    assert (
        list(choices({"workload": {"prompts": "prose"}, "topology": "two-sites"}, Path("mine"))) == []
    )  # equal content
    with Path("mine/prose.jsonl").open("a") as file:
        file.write('{"id": "one-more", "text": "One more."}\n')
    (line,) = choices({"workload": {"prompts": "prose"}}, Path("mine"))
    assert line.startswith("prompt set 'prose' is ") and line.endswith("; for mine/prose.jsonl write its path")
    (line,) = choices({"workload": {"prompts": "mine/prose.jsonl"}}, Path("mine"))
    assert line.startswith("prompt set 'mine/prose.jsonl' is mine/prose.jsonl; for ") and line.endswith(" write prose")


def test_experiments_have_names_wherever_the_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named.experiment("quickstart").samefile(ROOT / "experiments" / "quickstart.yaml")
    assert named.experiment("wanspec/same-coast").samefile(ROOT / "experiments" / "wanspec" / "same-coast.yaml")
    assert not [name for name in named.known(named.EXPERIMENT) if name.endswith("claims")]
    with pytest.raises(BadInput, match="experiment 'quikstart' is not in experiments/; did you mean 'quickstart'"):
        named.experiment("quikstart")
    Path("odd").write_text("name: odd\n")
    assert named.experiment("odd") == Path("odd")


@pytest.mark.usefixtures("without_page")
def test_a_run_holds_the_experiment_and_what_it_names_and_gives_the_same_run_again(
    experiment: Path, tmp_path: Path
) -> None:
    first = engine.run(read_experiment(experiment).scenario(), engine.Options(out=tmp_path / "runs"), Silent())
    shutil.rmtree("mine")
    again = first.directory / "experiment.yaml"
    assert sorted(one.name for one in (first.directory / "inputs").iterdir()) == [
        "own-device.yaml", "own-table.parquet", "own.yaml", "prose.jsonl",
    ]  # fmt: skip
    second = engine.run(read_experiment(again).scenario(), engine.Options(out=tmp_path / "runs"), Silent())
    assert second.summary["run_id"] == first.summary["run_id"] and second.directory != first.directory
    for table in ("requests", "rounds", "steps", "messages"):
        assert (first.directory / f"{table}.parquet").read_bytes() == (
            second.directory / f"{table}.parquet"
        ).read_bytes()
    assert yaml.safe_load(again.read_text())["policies"][1]["wanspec"]["label"] == "three"


def test_what_a_file_holds_decides_the_run_and_not_where_it_lies(experiment: Path) -> None:
    def identity() -> str:
        return from_scenario(
            read_experiment(experiment).scenario(), None, NO_OVERHEADS, lambda text: None
        ).experiment.run_id({})

    before = identity()
    moved = {**EXPERIMENT, "topology": "elsewhere.yaml"}
    Path("mine/net/own.yaml").rename("mine/elsewhere.yaml")
    experiment.write_text(yaml.safe_dump(moved))
    assert identity() == before
    path = Path("mine/own-device.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "source": "another"}))
    assert identity() != before


def test_an_unknown_name_is_no_choice(tmp_path: Path) -> None:
    """Made-up outcomes bring their own prompts, so nobody reads the set: naming files must not refuse it."""
    assert list(choices({"workload": {"prompts": "made-up"}, "topology": "nowhere"}, tmp_path)) == []
