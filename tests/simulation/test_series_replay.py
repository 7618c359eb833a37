"""A simulation under a round-trip time series: roles see it, repeats see it again, and it costs what it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.experiment.progress import Silent
from testbed.results.store import load
from testbed.simulation.engine import Options, run
from tests.simulation.made_up import POLICIES, decode_table, scenario

HEADER = "# description: d\n# kind: synthetic\n# source: s\n# licence: l\ntime_s,src,dst,rtt_ms\n"


@pytest.fixture
def table(tmp_path: Path) -> str:
    decode_table(0.7).write(tmp_path / "made-up.parquet")
    return str(tmp_path / "made-up.parquet")


def series(tmp_path: Path, *rtts_ms: float) -> str:
    """One value a second, then the end."""
    path = tmp_path / "made-up.csv"
    rows = [f"{at},near,far,{rtt}\n" for at, rtt in enumerate((*rtts_ms, rtts_ms[-1]))]
    path.write_text(HEADER + "".join(rows))
    return str(path)


def simulated(tmp_path: Path, table: str, *policies: object, **changes: Any):
    return run(scenario(*policies, **changes), Options(tmp_path / "runs", table), Silent())


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_a_constant_series_is_the_constant_link(tmp_path: Path, table: str) -> None:
    """two-sites are 20 ms apart; the same said as a series changes no latency."""
    plain = simulated(tmp_path, table, *POLICIES)
    under = simulated(tmp_path, table, *POLICIES, network={"rtt_series": series(tmp_path, 20, 20)})
    for kind in ("requests", "steps"):
        columns = ["policy", "started_ns", "finished_ns"] if kind == "steps" else ["policy", "sent_ns", "finished_ns"]
        one, other = getattr(load(plain.directory), kind)[columns], getattr(load(under.directory), kind)[columns]
        within = load(plain.directory).requests["finished_ns"].max()  # afterwards only the worker's last drafts differ
        assert one[one["finished_ns"] <= within].equals(other[other["finished_ns"] <= within])


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_spikes_slow_the_worker_s_policy_and_leave_those_at_one_site_alone(tmp_path: Path, table: str) -> None:
    spiky = {"rtt_series": series(tmp_path, 20, 400)}
    quiet, under = (
        load(simulated(tmp_path, table, *POLICIES, network=network).directory).requests for network in ({}, spiky)
    )
    for policy in ("autoregressive", "speculative"):
        one, other = (rows[rows["policy"] == policy]["finished_ns"] for rows in (quiet, under))
        assert one.equals(other)
    mean = {
        name: float((rows["finished_ns"] - rows["sent_ns"])[rows["policy"] == "wanspec"].mean())
        for name, rows in (("quiet", quiet), ("under", under))
    }
    assert mean["under"] > mean["quiet"]
    assert under["lossless"].all()


@pytest.mark.usefixtures("without_page")
def test_every_phase_starts_the_series_anew(tmp_path: Path, table: str) -> None:
    network = {"rtt_series": series(tmp_path, 20, 200, 20, 90), "at_end": "hold"}
    rows = load(simulated(tmp_path, table, "wanspec", repeats=2, network=network).directory).requests
    first, second = (rows[rows["repeat"] == repeat]["finished_ns"].tolist() for repeat in (0, 1))
    assert first == second


@pytest.mark.usefixtures("without_page")
def test_an_event_that_came_after_the_last_answer_is_said_and_one_before_it_is_not(tmp_path: Path, table: str) -> None:
    slower = [{"at_s": at_s, "link": ["near", "far"], "rtt_ms": 40} for at_s in (0.1, 900)]
    outcome = simulated(tmp_path, table, *POLICIES, events=slower)
    (unmet,) = outcome.summary["unmet_events"]
    assert unmet["at_s"] == 900 and unmet["phases"] == outcome.manifest["phases"]
    last = load(outcome.directory).requests.groupby("policy")["finished_ns"].max() / 1e9
    assert {one["policy"]: one["lasted_s"] for one in unmet["phases"]} == last.to_dict()


@pytest.mark.slow
def test_a_run_says_which_series_it_used_and_what_was_specified(tmp_path: Path, table: str) -> None:
    network = {"rtt_series": series(tmp_path, 20, 80), "speed": 2.0}
    outcome = simulated(tmp_path, table, "wanspec", network=network)
    said = outcome.manifest["rtt_series"]
    assert (said["name"], said["kind"], said["seconds"]) == ("made-up", "synthetic", 2.0) and len(said["sha256"]) == 64
    assert set(load(outcome.directory).links["specified_ms"]) == {1.0, 20.0}  # the topology's own
    report = (outcome.directory / "report.html").read_text()
    assert "made-up (synthetic" in report and "2 x speed, then loop" in report
    other = simulated(tmp_path, table, "wanspec", network={**network, "rtt_series": series(tmp_path, 20, 81)})
    assert other.summary["run_id"] != outcome.summary["run_id"]  # the same name, another content
    json.dumps(outcome.manifest, allow_nan=False)


@pytest.mark.usefixtures("without_page")
def test_jitter_loss_and_rate_of_the_experiment_reach_the_links(tmp_path: Path, table: str) -> None:
    network = {"jitter_ms": 3.0, "loss": 0.02, "rate_mbit": 1.0}
    rough = simulated(tmp_path, table, "wanspec", network=network)
    assert rough.manifest["topology"]["loss"] == {"near": {"far": 0.02}, "far": {"near": 0.02}}
    messages = load(rough.directory).messages
    between = messages[messages["src"].str.startswith("drafter") | messages["dst"].str.startswith("drafter")]
    delays_ms = (between["received_ns"] - between["sent_ns"]) / 1e6
    assert delays_ms.nunique() > 0.5 * len(delays_ms)
    assert delays_ms.max() > 45  # a loss costs more than a round trip of 20 ms


@pytest.mark.usefixtures("without_page")
def test_a_series_that_lacks_the_sites_in_use_is_refused_and_leaves_nothing(tmp_path: Path, table: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(HEADER + "0,a,b,5\n1,a,b,5\n")
    with pytest.raises(BadInput, match=r"network\.rtt_series: other: has no site 'near'; valid: a, b"):
        simulated(tmp_path, table, "wanspec", network={"rtt_series": str(path)})
    one_site = {"user": "near", "target": "near", "drafter": "near"}
    with pytest.raises(BadInput, match="would have no effect"):
        simulated(tmp_path, table, "wanspec", place=one_site, network={"rtt_series": series(tmp_path, 1, 2)})
    assert not (tmp_path / "runs").exists()
