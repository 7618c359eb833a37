"""One number instead of a topology file: `network.rtt_ms` of an experiment."""

import pytest

from testbed.errors import BadInput
from testbed.network.spec.topology import load_topology

WORLD = load_topology("aws-north-america")


def test_one_number_is_the_rtt_of_every_pair_of_regions_and_of_no_region_with_itself():
    changed = WORLD.with_rtt_ms(7.5)
    for a in WORLD.region_names:
        for b in WORLD.region_names:
            assert changed.rtt_ms(a, b) == pytest.approx(7.5 if a != b else WORLD.intra_site_rtt_ms)


def test_a_named_pair_changes_both_ways_and_nothing_else_does():
    changed = WORLD.with_rtt_ms({"us-east-1": {"us-east-2": 33}})
    assert changed.rtt_ms("us-east-1", "us-east-2") == changed.rtt_ms("us-east-2", "us-east-1") == 33
    assert changed.rtt_ms("us-east-1", "us-west-2") == WORLD.rtt_ms("us-east-1", "us-west-2")
    assert "set by the experiment" in changed.description and "set by" not in WORLD.description


def test_regions_that_are_not_there_are_refused():
    with pytest.raises(BadInput, match="no region 'us-east-9'"):
        WORLD.with_rtt_ms({"us-east-1": {"us-east-9": 3}})
    with pytest.raises(BadInput, match="is one region"):
        WORLD.with_rtt_ms({"us-east-1": {"us-east-1": 3}})
