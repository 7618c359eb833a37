"""The table of effects against the models that have their keys: none is missing, none is left over."""

from dataclasses import fields, replace
from typing import Any

from testbed.experiment.network import NetworkOptions
from testbed.network.spec.effects import BY_CHANCE, EFFECTS, EXCLUDE_EACH_OTHER
from testbed.network.spec.fabric import BurstLoss, Link
from testbed.network.spec.topology import Topology
from testbed.simulation.links import LinkSpec

OTHER = {"rtt_ms", "rtt_series", "speed", "at_end", "series_sites"}  # of `network:`: delays, and how they change
SHOWN: dict[str, Any] = {"jitter_ms": 2.0, "loss": 0.1, "burst_loss": BurstLoss(0.1, 0.2), "reorder": 0.1}


def test_topologies_experiments_and_links_have_the_keys_of_the_table() -> None:
    nested = {key for key, field in Topology.model_fields.items() if "dict[str, dict" in str(field.annotation)}
    assert nested - {"rtt"} == {effect.key for effect in EFFECTS}
    assert set(NetworkOptions.model_fields) - OTHER == {effect.option for effect in EFFECTS}
    rest = {"src", "dst", "one_way_ms", "up"}
    assert {field.name for field in fields(Link)} - rest == {effect.field or effect.key for effect in EFFECTS}


def test_a_link_of_either_engine_says_what_is_left_to_chance() -> None:
    assert set(SHOWN) == BY_CHANCE and set(EXCLUDE_EACH_OTHER) <= BY_CHANCE
    rated = Link("a", "b", 10.0, rate_bps=10**6, buffer_bytes=20_000)
    assert not rated.by_chance and not LinkSpec(10.0, rate_bps=10**6).by_chance
    for key, value in SHOWN.items():
        one = replace(rated, **{key: value})
        assert one.by_chance and LinkSpec(10.0, **{key: value}).by_chance, key
        assert one.without_chance() == rated, key
        assert (one.loses, one.keeps_order) == ("loss" in key, "loss" in key), key


def test_an_option_says_its_number_in_the_unit_of_the_key() -> None:
    (rate,) = (effect for effect in EFFECTS if effect.key == "rate_bps")
    assert (rate.option, rate.of_option(1.5)) == ("rate_mbit", 1_500_000)
