"""The control channel: lines of bounded length, and no key of the wire in what a node's file holds."""

import io

import pytest

from testbed.errors import RunInvalid
from testbed.nodes.control import MOST_REPLY_BYTES, Connect, NodeConfig, bounded_lines, line


def test_an_endless_reply_is_refused_before_it_fills_the_memory():
    stream = io.BytesIO(b'"beat"\n' + b"x" * (MOST_REPLY_BYTES + 5))
    lines = bounded_lines(stream)
    assert next(lines) == b'"beat"\n'
    with pytest.raises(RunInvalid, match="more than"):
        next(lines)


def test_keys_travel_in_a_command_and_not_in_the_configuration_that_is_written_to_a_file():
    assert "keys" in Connect.__struct_fields__
    assert not [name for name in NodeConfig.__struct_fields__ if "key" in name or "secret" in name]
    assert b"AAAA" in line(Connect({}, [], {"b": bytes(32)}))
