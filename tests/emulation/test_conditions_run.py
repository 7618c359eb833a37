"""Runs whose links change and whose nodes stop, for real: what is recorded, what is given up, what is left behind.

A busy machine may make a run invalid; what the run says of its links must be right even so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from testbed.simulation.calibrate import calibrate
from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

POLICIES = [{"speculative": {"k": 2}}, {"wanspec": {"k": 2, "phi": 0.5}}]
SERIES = "# description: d\n# kind: synthetic\n# source: s\n# licence: l\ntime_s,src,dst,rtt_ms\n"


def run(tmp_path: Path, *options: str, **changes: object) -> tuple[dict, Path]:
    path = experiment(tmp_path, policies=POLICIES, **changes)
    return finished(path, tmp_path / "runs", *options, "--fabric", "relay")


def test_a_series_is_replayed_anew_in_each_phase_and_its_simulation_has_the_same_tokens(tmp_path: Path) -> None:
    rows = "".join(f"{at / 4},near,far,{20 if at % 2 else 60}\n" for at in range(9))
    (tmp_path / "s.csv").write_text(SERIES + rows)
    summary, directory = run(tmp_path, network={"rtt_series": str(tmp_path / "s.csv")})
    assert summary["lossless"] == {"checked": 6, "equal": 6, "kind": "checked"}
    replay = pd.read_parquet(directory / "replay.parquet")
    assert set(replay["policy"]) == {"speculative", "wanspec"} and set(replay["what"]) == {"series"}
    for _, own in replay.groupby("policy"):
        assert own["step"].tolist() == list(range(len(own))) and set(own["links"]) == {4}  # two nodes near, one far
        assert set(own["scheduled_ns"].diff().dropna()) == {250_000_000}
        assert (own["applied_ns"] > own["scheduled_ns"]).all()
    assert summary["links"]["during"]["pairs"] == 2 and summary["links"]["during"]["lost"] == 0
    assert summary["links"]["dropped_packets"] == summary["links"]["unmatched_packets"] == 0
    probes = pd.read_parquet(directory / "probes.parquet")
    far = probes[probes["src"] == "drafter0"]
    assert {20.0, 60.0} <= set(far["specified_ms"].round(3))
    assert "Links during the run" in (directory / "report.html").read_text()
    assert calibrate(directory)["tokens_identical"]


def test_a_partition_that_heals_delays_what_crosses_it_and_loses_no_request(tmp_path: Path) -> None:
    cut, healed = {"at_s": 0.3, "partition": [["near"], ["far"]]}, {"at_s": 0.8, "heal": True}
    never = {"at_s": 600, "link": ["near", "far"], "rtt_ms": 30}
    summary, directory = run(tmp_path, events=[cut, healed, never])
    assert summary["lossless"] == {"checked": 6, "equal": 6, "kind": "checked"}
    replay = pd.read_parquet(directory / "replay.parquet")
    assert replay["what"].tolist() == ["partition near | far", "all links up"] * 2
    (unmet,) = summary["unmet_events"]
    assert unmet["at_s"] == 600 and {one["policy"] for one in unmet["phases"]} == {"speculative", "wanspec"}
    messages = pd.read_parquet(directory / "messages.parquet")
    took_ms = (messages["received_ns"] - messages["sent_ns"]) / 1e6
    assert took_ms[(messages["policy"] == "wanspec") & (messages["dst"] == "drafter0")].max() > 200
    assert summary["links"]["during"]["lost"] == 0  # those on the cut link are not held against anybody


def test_requests_that_need_a_stopped_node_are_given_up_and_the_next_phase_has_it_back(tmp_path: Path) -> None:
    # a request takes about half a second, so some have ended by then, and some have not
    stopped = {"at_s": 2, "stop_node": "target0"}
    summary, directory = run(tmp_path, "--no-probe", workload=workload(8), events=[stopped])
    assert not summary["validity"]["valid"]
    reasons = " ".join(summary["validity"]["reasons"])
    assert "timed out as expected" in reasons and "contradicts" not in reasons
    given_up = json.loads((directory / "manifest.json").read_text())["given_up"]
    assert set(given_up) == {"speculative", "wanspec"}
    requests = pd.read_parquet(directory / "requests.parquet")
    assert set(requests["policy"]) == {"speculative", "wanspec"}, "the second phase began with the node running again"
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == len(requests)
    replay = pd.read_parquet(directory / "replay.parquet")
    assert set(replay["what"]) == {"stopped: node target0"}
    assert not (directory / "probes.parquet").exists() and summary["links"]["during"] is None


def test_a_worker_that_stops_is_done_without_where_asked_and_every_request_ends(tmp_path: Path) -> None:
    silent = [
        {"wanspec": {"k": 2, "silence_ms": 300}},
        {"wanspec": {"branches": 2, "silence_ms": 300, "label": "tree"}},
    ]
    path = experiment(tmp_path, policies=silent, events=[{"at_s": 0.5, "stop_node": "drafter0"}], workload=workload(3))
    summary, directory = finished(path, tmp_path / "runs", "--fabric", "relay", "--no-probe")
    assert summary["lossless"] == {"checked": 6, "equal": 6, "kind": "checked"}
    assert not json.loads((directory / "manifest.json").read_text())["given_up"]
    messages = pd.read_parquet(directory / "messages.parquet")
    assert (messages["src"] == "drafter0").any(), "the worker spoke before it stopped"
