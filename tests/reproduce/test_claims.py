"""Claims of a paper: how a value comes out of a sweep's table, and what one command writes."""

import json

import pandas as pd
import pytest
import yaml

from testbed.errors import BadInput
from testbed.files.yamlfile import load_yaml
from testbed.reproduce.claims import Reach, Value, load_claims
from testbed.reproduce.run import reproduce
from testbed.reproduce.table import put
from testbed.reproduce.value import compute, emulated
from testbed.reproduce.verdict import within
from tests.sweep_examples import SMALL

TABLE = pd.DataFrame(
    {
        "network.rtt_ms": [0, 0, 20, 20, 40, 40],
        "seed": [1, 2, 1, 2, 1, 2],
        "policy": "wanspec",
        "status": "finished",
        "valid": [True] * 5 + [False],
        "latency_ratio": [0.8, 0.9, 0.9, 1.0, 1.1, 1.2],
        "latency_ratio_low": 0.7,
        "latency_ratio_high": 1.3,
    }
)


def value(**fields):
    return Value.model_validate({"name": "latency", "metric": "latency_ratio", "policy": "wanspec", **fields})


def test_one_row_gives_its_number_and_interval():
    ours = compute(value(where={"network.rtt_ms": 20, "seed": 1}), TABLE)
    assert (ours.number, ours.interval, ours.valid, ours.rows) == (0.9, (0.7, 1.3), True, 1)


def test_several_rows_are_refused_unless_they_are_to_be_reduced():
    with pytest.raises(BadInput, match="2 rows match; narrow"):
        compute(value(where={"network.rtt_ms": 20}), TABLE)
    reduced = {how: compute(value(where={"network.rtt_ms": 20}, reduce=how), TABLE).number for how in ("min", "max")}
    assert reduced == {"min": 0.9, "max": 1.0}
    ours = compute(value(where={"network.rtt_ms": [0, 20]}, reduce="median"), TABLE)
    assert ours.number == pytest.approx(0.9) and ours.rows == 4
    assert ours.interval == pytest.approx((0.875, 0.925))


def test_reach_is_the_last_value_before_the_bound_is_first_broken():
    assert compute(value(reach=Reach(axis="network.rtt_ms", at_most=1.0)), TABLE).number == 20
    assert compute(value(reach=Reach(axis="network.rtt_ms", at_most=2.0)), TABLE).number == 40
    assert compute(value(reach=Reach(axis="network.rtt_ms", at_most=0.5)), TABLE).number is None


def test_a_value_of_a_point_that_is_not_valid_says_so():
    assert not compute(value(where={"network.rtt_ms": 40}, reduce="max"), TABLE).valid


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"metric": "latency"}, "no column 'latency'; did you mean 'latency_ratio'"),
        ({"policy": "wanspek"}, "no policy 'wanspek' in the sweep; did you mean 'wanspec'"),
        ({"where": {"network.rtt": 1}}, "no column 'network.rtt'"),
        ({"where": {"seed": 9}}, "no finished point of the sweep has {'seed': 9}"),
    ],
)
def test_what_the_table_does_not_have_is_refused(fields, complaint):
    with pytest.raises(BadInput) as caught:
        compute(value(**fields), TABLE)
    assert complaint in str(caught.value)


def test_an_emulated_value_is_read_from_its_summary():
    statistic = {"median": 0.95, "ci95": [0.9, 1.0], "p95": 1.2, "n": 4}
    summary = {"validity": {"valid": False}, "policies": {"wanspec": {"latency_ratio": statistic}}}
    ours = emulated(value(), summary)
    assert (ours.number, ours.interval, ours.valid) == (0.95, (0.9, 1.0), False)
    assert emulated(value(metric="tpot_ms"), summary).number is None


def test_within_is_unknown_without_a_range_or_a_number():
    ours = compute(value(where={"network.rtt_ms": 20, "seed": 1}), TABLE)
    assert within(ours, value()) is None
    assert within(ours, value(range=[0.85, 0.9])) is True
    assert within(ours, value(range=[0.91, 1.0])) is False


def test_a_section_is_replaced_between_its_markers_and_nothing_else_is_touched(tmp_path):
    document = tmp_path / "reproduction.md"
    document.write_text("# Title\n\nbefore\n")
    put(document, "one", "One", "first")
    put(document, "two", "Two", "second")
    document.write_text(document.read_text().replace("before", "written by hand") + "\nafter\n")
    put(document, "one", "One", "third")
    text = document.read_text()
    assert "first" not in text and text.index("third") < text.index("second")
    assert text.startswith("# Title\n\nwritten by hand\n") and text.endswith("\nafter\n")
    document.write_text(text.replace("<!-- end one -->", ""))
    with pytest.raises(BadInput, match="needs the line"):
        put(document, "one", "One", "fourth")


CLAIMS = {
    "title": "Small",
    "cite": "nowhere",
    "sweeps": {"small": {"file": "small.yaml"}},
    "claims": [
        {
            "id": "S1",
            "source": "Fig. 1",
            "paper": "half | of it",
            "sweep": "small",
            "emulation": "results/small.json",
            "values": [
                {
                    "name": "draft ratio",
                    "metric": "target_site_draft_ratio",
                    "policy": "wanspec",
                    "where": {"network.rtt_ms": 20},
                    "reduce": "median",
                    "range": [0.0, 2.0],
                }
            ],
            "why": "it is small",
        }
    ],
    "figures": [
        {
            "name": "by-distance", "kind": "lines", "title": "By distance", "sweep": "small", "x": "network.rtt_ms",
            "y": "latency_ratio", "policies": ["wanspec", "speculative"], "x_label": "RTT", "y_label": "ratio",
        },
        {
            "name": "front", "kind": "scatter", "title": "Front", "sweep": "small", "x": "latency_ratio",
            "y": "target_site_draft_ratio", "by": "network.rtt_ms", "policies": ["wanspec"], "x_label": "latency",
            "y_label": "drafts",
        },
    ],
}  # fmt: skip

EXPERIMENT = {**SMALL, "matrix": {"network.rtt_ms": [5, 20], "seed": [1, 2]}}


class Silent:
    def note(self, text):
        pass

    def total(self, points, finished):
        pass

    def advance(self, points):
        pass


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """A paper's folder in an otherwise empty place."""
    folder = tmp_path / "experiments" / "small"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    (folder / "claims.yaml").write_text(yaml.safe_dump(CLAIMS))
    (tmp_path / "docs" / "results").mkdir(parents=True)
    policies = {"wanspec": {"target_site_draft_ratio": {"value": 0.5, "ci95": None}}}
    summary = {"validity": {"valid": True, "reasons": []}, "policies": policies}
    (tmp_path / "docs" / "results" / "small.json").write_text(json.dumps(summary))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_writes_the_table_and_every_figure_with_its_numbers(paper):
    result = reproduce("small", paper / "runs", paper / "docs", 1, Silent())
    assert result.valid
    text = (paper / "docs" / "reproduction.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| S1")]
    assert "half \\| of it (Fig. 1)" in row and "| 0 to 2 |" in row and ", in |" in row and "| it is small |" in row
    assert "| 0.5, in | yes |" in row
    assert "![By distance](results/small/by-distance.svg)" in text
    for name in ("by-distance", "front"):
        assert (paper / "docs" / "results" / "small" / f"{name}.svg").stat().st_size > 1000
    shown = pd.read_csv(paper / "docs" / "results" / "small" / "by-distance.csv")
    assert shown["series"].tolist() == ["wanspec"] * 2 + ["speculative"] * 2
    assert shown["x"].tolist() == [5, 20, 5, 20]
    assert shown["y"].tolist()[2:] == [1, 1]


@pytest.mark.slow
def test_doing_it_again_gives_the_same_bytes(paper):
    def files():
        folder = paper / "docs"
        return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    reproduce("small", paper / "runs", paper / "docs", 1, Silent())
    first = files()
    reproduce("small", paper / "other-runs", paper / "docs", 1, Silent())
    assert files() == first


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c["claims"][0].update(sweep="smal"), "no sweep 'smal'; did you mean 'small'"),
        (lambda c: c["claims"].append(c["claims"][0]), "'S1' is there twice"),
        (lambda c: c["claims"][0].update(whi="x"), "key 'whi' is unknown"),
        (lambda c: c["claims"][0].update(emulation="results/none.json"), "none.json: cannot be read"),
        (lambda c: c["sweeps"]["small"].update(file="none.yaml"), "none.yaml: cannot be read"),
    ],
)
def test_bad_claims_are_refused_and_nothing_is_written(paper, change, complaint):
    claims = json.loads(json.dumps(CLAIMS))
    change(claims)
    (paper / "experiments" / "small" / "claims.yaml").write_text(yaml.safe_dump(claims))
    with pytest.raises(BadInput) as caught:
        reproduce("small", paper / "runs", paper / "docs", 1, Silent())
    assert complaint in str(caught.value)
    assert not (paper / "docs" / "reproduction.md").exists()


def test_an_unknown_paper_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'wanspec'"):
        load_claims("wanspek")


def test_every_shipped_claim_points_at_files_that_are_there():
    for name in ("wanspec",):
        claims, folder = load_claims(name)
        for entry in claims.sweeps.values():
            assert load_yaml(folder / entry.file)
