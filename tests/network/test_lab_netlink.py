"""What goes over the lab's lines: requests as a file, answers as lines of text, both back as they were."""

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from testbed.network.lab.netlink import END, WHOLE, Commands, read_answer, read_requests, write_answer, write_requests
from testbed.system.netlink import Answer, Refusal, RouteSocket, attribute, qdisc_request


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


class Route(RouteSocket):
    """Answers every request with itself."""

    def __init__(self) -> None:
        self.carried_out = 0

    def prepare(
        self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]
    ) -> Callable[[], dict[int, Answer]]:
        return functools.partial(self._echo, requests)

    def _echo(self, requests: Sequence[bytes]) -> dict[int, Answer]:
        self.carried_out += 1
        return dict(enumerate(requests))


def answers(lines: Sequence[str]) -> list[tuple[int, Answer]]:
    *found, end = lines
    assert end == END + "\n"
    return [read_answer(line.rstrip("\n")) for line in found]


def test_what_is_loaded_is_carried_out_at_go_and_not_before(tmp_path: Path) -> None:
    request = qdisc_request(36, 0, 1, 1, 0, 0, b"")
    (tmp_path / "one").write_bytes(write_requests([request], 0, ()))
    route = Route()
    commands = Commands(route)
    assert commands.obey(f"load {tmp_path}/one") == []
    assert route.carried_out == 0
    assert answers(commands.obey("go")) == [(0, request)]


def test_a_file_that_cannot_be_read_is_said_at_go_and_nothing_older_is_carried_out(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(write_requests([], 0, ()))
    route = Route()
    commands = Commands(route)
    commands.obey(f"load {tmp_path}/one")
    assert commands.obey(f"load {tmp_path}/none") == []
    ((position, refusal),) = answers(commands.obey("go"))
    assert position == WHOLE
    assert isinstance(refusal, Refusal)
    assert "No such file" in refusal.text
    assert route.carried_out == 0
