"""The verb `capacity`, from a shell's view: a table for people, its files, and what it refuses."""

from pathlib import Path

import pytest

from tests.in_process import testbed

FLEET = Path(__file__).parents[2] / "experiments/wisp/fleet.yaml"
SMALL = ("workload.output_tokens=10", "--rates", "8", "--policy", "centralised", "--duration", "3", "--most", "3")


@pytest.mark.slow
def test_people_get_every_scope_what_users_got_and_the_files(tmp_path):
    out = tmp_path / "found"
    done = testbed("capacity", FLEET, *SMALL, "--workers", "1", "--out", out, "--points", "2")
    assert done.returncode == 0, done.stderr
    for said in ("SIMULATED", "rate counted from sending", "request", "fleet", "tokens/s", "3 [3, 3]"):
        assert said in done.stdout, done.stdout
    assert "centralised at 8.0 tokens/s, prose: 3 users per request" in done.stderr
    assert {path.name for path in out.iterdir()} == {"capacities.csv", "curves.csv", "saturation.svg"}


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--seeds", "3-1"), "--seeds '3-1'"), (("--prompts", "prosse"), "prosse"), (("--scope", "users"), "scope")],
)
def test_what_cannot_be_searched_is_refused_in_a_line(options, said):
    done = testbed("capacity", FLEET, *SMALL, "--workers", "1", *options)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
