"""Paired comparison: a run against itself is 1, one twice as slow is 2, and strangers are never compared."""

import json

import pytest
from msgspec.structs import replace
from rich.console import Console

from testbed.errors import BadInput
from testbed.results.compare import compare_runs
from testbed.results.compare_render import render
from testbed.results.store import RunDirectory
from tests.results import tiny_log


def written(folder, name, rows=None, policies=tiny_log.POLICIES, valid=True, **told):
    (folder / name).mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(folder / name)
    run = tiny_log.run()
    for kind, of_kind in {**tiny_log.rows(), **(rows or {})}.items():
        directory.write_rows(kind, [row for row in of_kind if kind == "links" or row.policy in policies])
    manifest = {**run.manifest, "run_id": name, **told}
    directory.write_manifest({**manifest, "policies": [p for p in manifest["policies"] if p["label"] in policies]})
    reasons = [] if valid else ["made up"]
    directory.write_summary({"validity": {"valid": valid, "reasons": reasons}})
    return folder / name


def slower(factor):
    """Every request's end, and all between, `factor` times as long after its sending."""

    def late(row, at_ns):
        return row.sent_ns + factor * (at_ns - row.sent_ns)

    return {
        "requests": [
            replace(
                row,
                first_token_ns=late(row, row.first_token_ns),
                finished_ns=late(row, row.finished_ns),
                chunk_ns=tuple(late(row, at) for at in row.chunk_ns),
            )
            for row in tiny_log.rows()["requests"]
        ]
    }


def test_a_run_against_itself_is_one_everywhere(tmp_path):
    one, two = written(tmp_path, "one"), written(tmp_path, "two")
    result = compare_runs([one, two])
    (comparison,) = result["comparisons"]
    assert set(comparison["policies"]) == set(tiny_log.POLICIES)
    for policy in comparison["policies"].values():
        assert (policy["pairs"], policy["unpaired"]) == (2, 0)
        for figures in policy["metrics"].values():
            for ratio in (figures["ratio_of_medians"], figures["median_of_ratios"]):
                assert ratio is None or (ratio["value"] == 1 and ratio["ci95"] in (None, [1, 1]))


def with_more_prompts(rows):
    """Three times as many, so that there is an interval."""
    return {
        "requests": [
            replace(row, prompt_id=f"{row.prompt_id}{copy}", request=row.request + 10 * copy)
            for row in rows["requests"]
            for copy in range(3)
        ]
    }


def test_twice_as_slow_is_two_with_its_interval(tmp_path):
    one = written(tmp_path, "one", with_more_prompts(tiny_log.rows()))
    result = compare_runs([one, written(tmp_path, "two", with_more_prompts(slower(2)))])
    e2e = result["comparisons"][0]["policies"]["wanspec"]["metrics"]["e2e_ms"]
    assert e2e["ratio_of_medians"] == {"value": 2.0, "ci95": [2.0, 2.0]}
    assert e2e["median_of_ratios"] == {"value": 2.0, "ci95": [2.0, 2.0]}
    assert e2e["n"] == 6


def test_too_few_prompts_have_ratios_without_an_interval(tmp_path):
    result = compare_runs([written(tmp_path, "one"), written(tmp_path, "two", slower(2))])
    e2e = result["comparisons"][0]["policies"]["wanspec"]["metrics"]["e2e_ms"]
    assert (e2e["ratio_of_medians"], e2e["n"]) == ({"value": 2.0, "ci95": None}, 2)
    acceptance = result["comparisons"][0]["policies"]["wanspec"]["metrics"]["acceptance_rate"]
    assert acceptance["ratio_of_medians"]["value"] == 1


@pytest.mark.slow
def test_the_first_run_is_the_base_of_all_others(tmp_path):
    runs = [written(tmp_path, "one"), written(tmp_path, "two", slower(2)), written(tmp_path, "three", slower(3))]
    result = compare_runs(runs)
    e2e = [one["policies"]["speculative"]["metrics"]["e2e_ms"] for one in result["comparisons"]]
    assert [one["ratio_of_medians"]["value"] for one in e2e] == [2, 3]
    assert result["base"]["run_id"] == "one"


def test_requests_without_a_partner_are_counted_and_left_out(tmp_path):
    rows = tiny_log.rows()["requests"]
    other = {"requests": [replace(row, prompt_id="z") if row.request == 1 else row for row in rows]}
    result = compare_runs([written(tmp_path, "one"), written(tmp_path, "two", other)])
    for policy in result["comparisons"][0]["policies"].values():
        assert (policy["pairs"], policy["unpaired"]) == (1, 2)
        assert policy["metrics"]["e2e_ms"]["n"] == 1


def test_policies_of_one_run_only_are_named(tmp_path):
    two = written(tmp_path, "two", policies=("speculative", "wanspec"))
    (comparison,) = compare_runs([written(tmp_path, "one"), two])["comparisons"]
    assert comparison["only_in_one"] == ["autoregressive"]


def test_a_comparison_with_a_run_that_is_not_valid_is_not_valid(tmp_path):
    result = compare_runs([written(tmp_path, "one"), written(tmp_path, "two", valid=False)])
    assert result["valid"] is False
    assert result["comparisons"][0]["run"]["validity"]["reasons"] == ["made up"]
    json.dumps(result, allow_nan=False)
    assert render(result)


def test_nothing_that_pairs_is_refused_with_the_fix(tmp_path):
    rows = tiny_log.rows()["requests"]
    strangers = {"requests": [replace(row, prompt_id=f"z{row.request}") for row in rows]}
    one = written(tmp_path, "one", policies=("wanspec",))
    with pytest.raises(BadInput, match="run both on the same prompts"):
        compare_runs([one, written(tmp_path, "two", strangers)])
    with pytest.raises(BadInput, match="no policy in common"):
        compare_runs([one, written(tmp_path, "three", policies=("speculative",))])
    with pytest.raises(BadInput, match="at least two runs"):
        compare_runs([one])
    with pytest.raises(BadInput, match="finished run directory"):
        compare_runs([one, tmp_path / "nothing"])


def test_the_dilation_of_a_run_stands_beside_its_fabric(tmp_path, capsys):
    one = written(tmp_path, "one")
    two = written(tmp_path, "two", clock={"dilation": 4.0, "phases": []})
    result = compare_runs([one, two])
    assert (result["base"]["dilation"], result["comparisons"][0]["run"]["dilation"]) == (1, 4)
    Console(width=120).print(render(result))
    assert "dilation 4) against" in capsys.readouterr().out
