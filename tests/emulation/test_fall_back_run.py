"""SLED's fall-back for real: not lossless by choice, stamped so, and no reason to call the run invalid."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

EXPERIMENT = """\
name: fall-back
topology: aws-north-america
workload: {prompts: prose, requests: 2, output_tokens: 24}
models: {target: tiny-target, draft: tiny-draft}
devices: {target: l40s/llama-3.1-8b, drafter: l40s/llama-3.2-1b}
place: {user: us-west-2, target: us-east-1}
policies:
  - sled: {timeout_ms: 100}
  - sled: {timeout_ms: 40, fall_back: 2, label: sled-falls-back}
seed: 1
"""


def test_a_fall_back_is_counted_apart_and_stamped_everywhere(tmp_path):
    """The round trip is longer than the time-out, so it falls back again and again."""
    path = tmp_path / "fall-back.yaml"
    path.write_text(EXPERIMENT)
    command = [
        sys.executable, "-m", "testbed", "run", str(path), "--fabric", "relay", "--nodes", "process",
        "--out", str(tmp_path), "--json",
    ]  # fmt: skip
    process = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert process.returncode in (0, 3), process.stderr
    summary = json.loads(process.stdout)
    assert summary["lossless"] == {"checked": 2, "equal": 2}
    given_up = summary["not_lossless_by_choice"]["sled-falls-back"]
    assert given_up["checked"] == 2 and given_up["equal"] < 2
    reasons = summary["validity"]["reasons"]
    assert not [one for one in reasons if "differ" in one or "contradicts itself" in one]
    page = (tmp_path / "latest" / "report.html").read_text(encoding="utf-8")
    assert "<strong>NOT LOSSLESS BY CHOICE</strong>" in page
