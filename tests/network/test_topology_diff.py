"""`topology show` and `topology diff`."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.network.spec.topology import load_topology
from testbed.network.spec.topologydiff import difference
from tests.in_process import testbed


def test_a_difference_has_every_link_of_both_largest_first() -> None:
    found = difference(load_topology("azure-2025-06"), load_topology("azure-2026-07"))
    changes = [abs(one.change_ms) for one in found.links]
    assert changes == sorted(changes, reverse=True)
    first = found.links[0]
    assert (first.before_ms, first.after_ms, first.change_ms) == (210.0, 58.0, -152.0)
    assert found.lost_regions == ["qatarcentral", "westindia"]
    before, after = (set(load_topology(name).pairs()) for name in ("azure-2025-06", "azure-2026-07"))
    assert {(one.src, one.dst) for one in found.links} == before & after
    assert (set(found.only_before), set(found.only_after)) == (before - after, after - before)


def test_equal_topologies_differ_in_nothing() -> None:
    found = difference(load_topology("aws"), load_topology("aws-europe"))
    assert all(one.change_ms == 0 for one in found.links) and len(found.links) == 20
    assert "0 changed" in found.summary()[-1]


def test_the_verbs_show_and_compare(tmp_path: Path) -> None:
    done = testbed("topology", "diff", "azure-2025-06", "azure-2026-07")
    assert (
        done.returncode == 0 and "israelcentral" in done.stdout and "links changed less; --json has all" in done.stdout
    )
    found = json.loads(testbed("topology", "diff", "azure-2025-06", "aws", "--json").stdout)
    assert (found["links"], found["kinds"]) == ([], ["backbone", "public_ping"])
    assert (
        "figures of different kinds: backbone and public_ping"
        in testbed("topology", "diff", "azure-2025-06", "aws").stdout
    )
    done = testbed("topology", "show", "wanspec")
    assert "1 us-west-2" in done.stdout and "187.67" in done.stdout and "public ping" in done.stdout
    assert json.loads(testbed("topology", "show", "wanspec", "--json").stdout)["name"] == "wanspec"
    done = testbed("topology", "show", "wanspec", "--svg", tmp_path / "w.svg")
    assert done.stdout == f"{tmp_path}/w.svg\n" and (tmp_path / "w.svg").read_text().startswith("<svg ")
    assert testbed("topology", "show", "wanspeck").returncode == 2
    assert testbed("topology", "show", "wanspec", "--svg", tmp_path).returncode == 2
