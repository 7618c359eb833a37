"""The relay with as many nodes as the project promises: 64, every directed link its own delay (invariant 6)."""

import random
from pathlib import Path

import pytest

from testbed.network.measure.probe import probe_links
from testbed.network.relay.fabric import RelayFabric
from testbed.network.relay.process import TUN_PATH
from testbed.system.journal import Journal
from tests.network.relay_lab_helpers import namespaces, random_links

pytestmark = [
    pytest.mark.shaped,
    pytest.mark.alone,
    pytest.mark.skipif(not Path(TUN_PATH).exists(), reason=f"{TUN_PATH} is missing"),
]
NODES, SAMPLED_PAIRS, PROBES = 64, 60, 15


def test_sixty_four_nodes_have_the_delays_of_their_matrix(journal: Journal) -> None:
    with namespaces(NODES) as ports:
        fabric = RelayFabric("many", journal)
        fabric.attach(ports)
        try:
            links = random_links(ports, seed=64)
            one_way = {(link.src, link.dst): link.one_way_ms for link in links}
            pairs = random.Random(1).sample(sorted(one_way), SAMPLED_PAIRS)
            base = probe_links(ports, dict.fromkeys(pairs, 0.0), PROBES)
            fabric.shape(links)
            assert fabric.read_back() == one_way
            measured = probe_links(ports, {(a, b): one_way[a, b] + one_way[b, a] for a, b in pairs}, PROBES)
            counters = fabric.counters()
        finally:
            fabric.detach()
    assert (counters.unmatched, counters.dropped) == (0, 0)
    wrong = {}
    for bare, sample in zip(base, measured, strict=True):
        assert bare.median_ms is not None and sample.error_ms is not None
        if abs(error_ms := sample.error_ms - bare.median_ms) > max(0.4, 0.01 * sample.specified_ms):
            wrong[sample.src, sample.dst] = error_ms
    assert not wrong
