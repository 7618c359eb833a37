"""The service over links that are as long as its users are far: what a laptop's loopback never shows."""

import json
import sys

import pytest

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
PORT = "8000"
FAR_MS = 80  # round trip
TIMES = 3  # the best of them: what else the machine does may only add time


@pytest.fixture
def network(shaped_network):
    """A server, a client in the same city and one across an ocean."""
    network = shaped_network({"server": {"near": 2, "far": FAR_MS}, "near": {"far": FAR_MS}})
    network["server"].start([sys.executable, "service/server.py", PORT])
    return network


def ask(node):
    return json.loads(node.run([sys.executable, "service/client.py", "server", PORT]).stdout)


def test_distance_costs_one_round_trip_and_not_one_a_word(network):
    near, far = ([ask(network[name]) for _ in range(TIMES)] for name in ("near", "far"))
    assert all(one["words"] == WORDS for one in (*near, *far))
    first = [min(one["first_ms"] for one in some) for some in (near, far)]
    assert first[1] > FAR_MS and first[1] > first[0]
    # were each word asked for, they would take ten round trips
    assert min(one["last_ms"] - one["first_ms"] for one in far) < 5 * FAR_MS


def test_a_link_that_is_cut_for_a_moment_loses_no_word_and_disturbs_nobody_else(network):
    ask(network["near"])  # the server is up
    client = network["far"].start([sys.executable, "service/client.py", "server", PORT], stdout=-1)
    network.cut("server", "far")
    assert ask(network["near"])["words"] == WORDS
    network.restore("server", "far")
    out, _ = client.communicate(timeout=60)
    assert json.loads(out)["words"] == WORDS
