"""SLED's fallback for real: not lossless by choice, stamped so, and no reason to call the run invalid."""

from __future__ import annotations

import pytest

from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

FAR_APART = {
    "topology": "aws-north-america",
    "workload": workload(2),
    "place": {"user": "us-west-2", "target": "us-east-1"},
    "policies": [
        {"sled": {"timeout_ms": 100}},
        {"sled": {"timeout_ms": 40, "fall_back": 2, "label": "sled-falls-back"}},
    ],
}


def test_a_fall_back_is_counted_apart_and_stamped_everywhere(tmp_path):
    """The round trip is longer than the timeout, so it falls back again and again."""
    summary, run = finished(experiment(tmp_path, **FAR_APART), tmp_path, "--fabric", "relay", "--nodes", "process")
    assert summary["lossless"] == {"checked": 2, "equal": 2, "kind": "checked"}
    given_up = summary["not_lossless_by_choice"]["sled-falls-back"]
    assert given_up["checked"] == 2 and given_up["equal"] < 2
    reasons = summary["validity"]["reasons"]
    assert not [one for one in reasons if "differ" in one or "contradicts itself" in one]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<strong>NOT LOSSLESS BY CHOICE</strong>" in page
