"""What goes over the lab's lines: requests as a file, answers as lines of text, both back as they were."""

import pytest

from testbed.network.lab_netlink import read_answer, read_requests, write_answer, write_requests
from testbed.network.netlink import Answer, Refusal, attribute, qdisc_request


@pytest.mark.parametrize("wanted", [set(), {0}, {1, 2}])
def test_requests_survive_the_file(wanted: set[int]) -> None:
    requests = [qdisc_request(36, 0, n, 1, 0, 0, attribute(1, bytes(range(n)) + b"\n")) for n in range(3)]
    assert read_requests(write_requests(requests, 52, wanted)) == (requests, 52, wanted)


@pytest.mark.parametrize("answer", [b"\n\0!any bytes", b"", Refusal(2, "No such file or directory: words")])
def test_answers_survive_the_line(answer: Answer) -> None:
    line = write_answer(7, answer)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert read_answer(line.rstrip("\n")) == (7, answer)
