"""Leaves changed in place: only what differs is sent, all of it is checked, each drop is booked under its reason."""

import functools
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.network.netem.encoder import RESET_BYTES, NetemState, decode_options, decode_qdisc, encode_options
from testbed.network.netem.leaves import IN_ORDER_BYTES_PER_S, NetemLeaves, fate, netem_state
from testbed.network.spec.fabric import BurstLoss, Link, Port
from testbed.system.netlink import (
    HEADER,
    RTM_NEWQDISC,
    TC,
    Answer,
    Refusal,
    attribute,
    kept_as_asked,
    messages,
    qdisc_request,
)

PORTS = [Port("a", 0, "10.77.0.1", 1), Port("b", 1, "10.77.0.2", 2)]
DEVICES = {"a": 4, "b": 5}
PLACES = {("b", "a"): (4, 0x101 << 16), ("a", "b"): (5, 0x100 << 16)}


class PaperKernel:
    """Holds what it is told, byte for byte, as the kernel of the given age would show it."""

    def __init__(self, takes_seeds: bool = False) -> None:
        plain = encode_options(NetemState(seed=1 if takes_seeds else None))[:-RESET_BYTES]
        self.options = dict.fromkeys(PLACES.values(), plain)
        self.drops = dict.fromkeys(PLACES.values(), 0)
        self.sets: list[tuple[tuple[int, int], NetemState]] = []
        self.refuses: Refusal | None = None
        self.keeps_its_own = False
        self.loaded: functools.partial[dict[int, Answer]] | None = None

    def prepare(
        self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]
    ) -> Callable[[], dict[int, Answer]]:
        """Keeps only what was prepared last, as the lab's guest does."""
        self.loaded = exchange = functools.partial(self.carry_out, requests, reset_bytes, wanted)

        def carry_out_what_was_loaded() -> dict[int, Answer]:
            assert exchange is self.loaded, "other requests have been prepared since"
            return exchange()

        return carry_out_what_was_loaded

    def carry_out(self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        for position, request in enumerate(requests):
            sets = next(messages(request))[0] == RTM_NEWQDISC
            asked = decode_qdisc(request) if sets else None
            _, ifindex, handle, *_ = TC.unpack_from(request, HEADER.size)
            place = (ifindex, handle)
            if asked:
                self.sets.append((place, decode_options(asked.options)[0]))
                if not self.keeps_its_own:
                    self.options[place] = asked.options[:-reset_bytes]
            shown = self.show(place)
            if self.refuses:
                answers[position] = self.refuses
            elif position in wanted or (asked and not kept_as_asked(request, shown, reset_bytes)):
                answers[position] = shown
        return answers

    def show(self, place: tuple[int, int]) -> bytes:
        queue = attribute(3, struct.pack("=IIIII", 0, 0, self.drops[place], 0, 0))
        rest = attribute(1, b"netem\0") + attribute(2, self.options[place]) + attribute(7, queue)
        return qdisc_request(RTM_NEWQDISC, 0, 0, place[0], place[1], 0, rest)

    def dump_qdiscs(self) -> list[bytes]:
        return [self.show(place) for place in self.options]


def leaves(kernel: PaperKernel) -> NetemLeaves:
    return NetemLeaves("paper", kernel, PORTS, DEVICES, "seed")


def links(**effects: object) -> dict[tuple[str, str], Link]:
    changed = replace(Link("a", "b", 5.0), **effects)  # type: ignore[arg-type]
    return {("a", "b"): changed, ("b", "a"): Link("b", "a", 7.0)}


@pytest.mark.parametrize(
    ("link", "state"),
    [
        (Link("a", "b", 10.0500001), NetemState(10_050_000, 12447, rate_bytes_per_s=IN_ORDER_BYTES_PER_S)),
        (Link("a", "b", 1.0, jitter_ms=0.5), NetemState(1_000_000, 10_000, 500_000)),
        (Link("a", "b", 1.0, reorder=0.25), NetemState(1_000_000, 10_000, reorder=0.25)),
        (
            Link("a", "b", 0.0, burst_loss=BurstLoss(0.1, 0.5, 0.9, 0.01)),
            NetemState(0, 10_000, burst=(0.1, 0.5, 0.9, 0.01), rate_bytes_per_s=IN_ORDER_BYTES_PER_S),
        ),
        (
            Link("a", "b", 0.0, burst_loss=BurstLoss(0.1, 0.5), up=False),
            NetemState(0, 10_000, loss=1.0, rate_bytes_per_s=IN_ORDER_BYTES_PER_S),
        ),
    ],
)
def test_a_link_is_this_netem(link: Link, state: NetemState) -> None:
    """In order (any rate does that to netem) unless packets are meant to overtake; a cut link loses all."""
    assert netem_state(link) == state


def test_jitter_that_netem_would_cut_short_is_refused() -> None:
    with pytest.raises(BadInput, match="link a -> b: jitter_ms is 2500"):
        netem_state(Link("a", "b", 5000.0, jitter_ms=2500.0))


def test_each_pair_is_changed_at_its_own_device_and_handle() -> None:
    kernel = PaperKernel()
    leaves(kernel).change(links())
    assert {place: state.latency_ns for place, state in kernel.sets} == {
        PLACES["a", "b"]: 5_000_000,
        PLACES["b", "a"]: 7_000_000,
    }


def test_only_links_that_differ_are_sent() -> None:
    """A leaf set anew starts its draws anew: one that is as asked is left alone."""
    kernel = PaperKernel()
    under_test = leaves(kernel)
    under_test.change(links())
    kernel.sets.clear()
    under_test.change(links(one_way_ms=6.0))
    assert [place for place, _ in kernel.sets] == [PLACES["a", "b"]]


def test_what_is_prepared_changes_nothing_until_it_is_called() -> None:
    kernel = PaperKernel()
    bring_into_force = leaves(kernel).prepare(links())
    assert kernel.sets == []
    bring_into_force()
    assert len(kernel.sets) == 2


def test_a_change_in_between_does_not_spoil_what_was_prepared() -> None:
    """Prepared when a->b had 5 ms already, so nothing to send for it; then it got 6."""
    kernel = PaperKernel()
    under_test = leaves(kernel)
    under_test.change(links())
    bring_into_force = under_test.prepare(links())
    under_test.change(links(one_way_ms=6.0))
    bring_into_force()
    assert under_test.read_back() == {("a", "b"): 5.0, ("b", "a"): 7.0}


def test_a_change_that_alters_nothing_does_not_spoil_what_was_prepared_either() -> None:
    kernel = PaperKernel()
    under_test = leaves(kernel)
    under_test.change(links())
    bring_into_force = under_test.prepare(links(one_way_ms=6.0))
    under_test.change(links())
    bring_into_force()
    assert under_test.read_back() == {("a", "b"): 6.0, ("b", "a"): 7.0}


def test_a_refusal_names_the_link_and_the_next_change_sends_it_again() -> None:
    kernel = PaperKernel()
    under_test = leaves(kernel)
    kernel.refuses = Refusal(2, "No such file or directory")
    with pytest.raises(MachineCannot, match=r"link a -> b: the kernel refused the change \(No such file"):
        under_test.change(links())
    kernel.refuses = None
    kernel.sets.clear()
    under_test.change(links())
    assert len(kernel.sets) == 2


def test_an_exchange_that_fails_as_a_whole_is_said_and_the_next_change_sends_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = PaperKernel()
    under_test = leaves(kernel)

    def fail(*_: object) -> dict[int, Answer]:
        raise OSError(105, "No buffer space available")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "carry_out", fail)
        with pytest.raises(MachineCannot, match=r"fabric paper: netlink failed \(No buffer space available\)"):
            under_test.change(links())
    under_test.change(links())
    assert len(kernel.sets) == 2


def test_a_kernel_that_shows_something_else_is_an_error() -> None:
    kernel = PaperKernel()
    under_test = leaves(kernel)
    kernel.keeps_its_own = True
    with pytest.raises(MachineCannot, match=r"link a -> b: the kernel shows latency_ns 0 instead of 5000000"):
        under_test.change(links())


def test_seeds_are_sent_to_kernels_that_take_them_and_never_twice() -> None:
    old, new = PaperKernel(), PaperKernel(takes_seeds=True)
    for kernel in (old, new):
        under_test = leaves(kernel)
        assert under_test.takes_seeds is (kernel is new)
        for ms in (1.0, 2.0, 3.0):
            under_test.change(links(one_way_ms=ms, loss=0.1))
    assert {state.seed for _, state in old.sets} == {None}
    assert len({state.seed for _, state in new.sets}) == len(new.sets) == 4
    again = PaperKernel(takes_seeds=True)
    leaves(again).change(links(one_way_ms=1.0, loss=0.1))
    assert again.sets == new.sets[:2]  # the same run id draws the same


@pytest.mark.parametrize(
    ("link", "counts_as"),
    [
        (Link("a", "b", 1.0), "dropped"),
        (Link("a", "b", 1.0, loss=0.1), "lost"),
        (Link("a", "b", 1.0, burst_loss=BurstLoss(0.1, 0.5)), "lost"),
        (Link("a", "b", 1.0, loss=0.1, up=False), "cut"),
    ],
)
def test_what_was_asked_of_a_link_says_why_it_drops(link: Link, counts_as: str) -> None:
    assert fate(link) == counts_as


def test_drops_stay_booked_under_what_was_asked_when_they_happened() -> None:
    kernel = PaperKernel()
    under_test = leaves(kernel)
    under_test.change(links())
    drops = {"overflow": 2, "lossy": 30, "cut": 400, "overflow again": 5000}
    for name, effects in (
        ("overflow", {"loss": 0.1}),
        ("lossy", {"up": False}),
        ("cut", {}),
        ("overflow again", {"one_way_ms": 9.0}),
    ):
        kernel.drops[PLACES["a", "b"]] += drops[name]
        under_test.change(links(**effects))
    counters = under_test.counters()
    assert (counters.dropped, counters.lost, counters.cut) == (5002, 30, 400)
    assert under_test.counters() == counters
