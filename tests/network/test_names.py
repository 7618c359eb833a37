"""What programs in nodes are told of the network."""

from __future__ import annotations

from testbed.network.names import environment, hosts_text

ADDRESSES = {"near": "10.77.0.1", "us-east-1": "10.77.0.2"}


def test_the_hosts_file_names_every_node_and_the_loopback() -> None:
    lines = hosts_text(ADDRESSES).splitlines()
    assert lines[0] == "127.0.0.1 localhost"
    assert lines[-2:] == ["10.77.0.1 near", "10.77.0.2 us-east-1"]


def test_the_environment_has_every_address_under_a_name_that_shells_can_write() -> None:
    assert environment("near", ADDRESSES) == {
        "TESTBED_NODE": "near",
        "TESTBED_ADDR": "10.77.0.1",
        "TESTBED_NODES": "near=10.77.0.1 us-east-1=10.77.0.2",
        "TESTBED_ADDR_near": "10.77.0.1",
        "TESTBED_ADDR_us_east_1": "10.77.0.2",
    }


def test_two_names_that_would_be_one_variable_are_none() -> None:
    found = environment("a-b", {"a-b": "10.77.0.1", "a.b": "10.77.0.2", "c": "10.77.0.3"})
    assert [key for key in found if key.startswith("TESTBED_ADDR_")] == ["TESTBED_ADDR_c"]
    assert found["TESTBED_NODES"] == "a-b=10.77.0.1 a.b=10.77.0.2 c=10.77.0.3"
