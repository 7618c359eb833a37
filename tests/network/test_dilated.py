"""Links in virtual time on a fabric of a kernel: what becomes longer, what becomes slower, and what stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import pytest

from testbed.errors import BadInput
from testbed.network.dilated import DilatedFabric, in_virtual_time, in_wall_time
from testbed.network.netem.plan import check_links, rate_buffer_bytes
from testbed.network.spec.fabric import BurstLoss, Counters, FabricName, Link, Port

LINK = Link("a", "b", 20.0, 0.01, 8_000_000, 1.5, None, 0.25, 40_000, False)
# By field, at dilation 4. Every field of a link stands here, so that a new one is thought about.
AT_4 = {
    "src": "a",
    "dst": "b",
    "one_way_ms": 80.0,
    "loss": 0.01,
    "rate_bps": 2_000_000,
    "jitter_ms": 6.0,
    "burst_loss": None,
    "reorder": 0.25,
    "buffer_bytes": 40_000,
    "up": False,
}


def test_every_field_of_a_link() -> None:
    stretched = in_wall_time(LINK, 4)
    assert {one.name: getattr(stretched, one.name) for one in fields(Link)} == AT_4


def test_faster_than_life_is_the_other_way_round() -> None:
    assert in_wall_time(in_wall_time(LINK, 0.25), 4) == LINK


def test_chances_are_of_packets_and_stay() -> None:
    burst = BurstLoss(0.1, 0.5, 0.9, 0.01)
    assert in_wall_time(Link("a", "b", 1.0, burst_loss=burst), 3).burst_loss == burst


def test_a_buffer_that_follows_from_the_rate_holds_the_same_bytes() -> None:
    link = replace(LINK, buffer_bytes=None, rate_bps=100_000_000)
    assert rate_buffer_bytes(in_wall_time(link, 10)) == rate_buffer_bytes(link) == 625_000
    assert in_wall_time(replace(link, rate_bps=None), 10).buffer_bytes is None


class Kernel:
    """A fabric that keeps what it was asked for, with the checks of the real ones."""

    name: FabricName = "netem"

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.told: list[str] = []

    def attach(self, ports: Sequence[Port]) -> None:
        self.told.append(f"attach {len(ports)}")

    def shape(self, links: Sequence[Link]) -> None:
        self.links = list(
            check_links([Port("a", 0, "10.0.0.1", 1), Port("b", 1, "10.0.0.2", 2)], links, False).values()
        )

    def change(self, links: Sequence[Link]) -> None:
        self.shape(links)

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        return lambda: self.shape(links)

    def read_back(self) -> dict[tuple[str, str], float]:
        return {(link.src, link.dst): link.one_way_ms for link in self.links}

    def counters(self) -> Counters:
        return Counters(lost=7)

    def facts(self) -> dict[str, object]:
        return {"kernel": "k"}

    def died(self) -> str | None:
        return "so"

    def detach(self) -> None:
        self.told.append("detach")


@pytest.mark.parametrize("verb", ["shape", "change", "prepare"])
def test_a_fabric_is_asked_and_says_in_virtual_time(verb: str) -> None:
    kernel = Kernel()
    fabric = DilatedFabric(kernel, 2.5)
    later = getattr(fabric, verb)([LINK])
    if verb == "prepare":
        assert kernel.links == []
        later()
    assert kernel.links == [in_wall_time(LINK, 2.5)]
    assert fabric.read_back() == {("a", "b"): 20.0}


def test_all_else_is_the_fabrics_own() -> None:
    kernel = Kernel()
    fabric = in_virtual_time(kernel, 2)
    fabric.attach([Port("a", 0, "10.0.0.1", 1)])
    assert (fabric.name, fabric.counters().lost, fabric.facts(), fabric.died()) == ("netem", 7, {"kernel": "k"}, "so")
    fabric.detach()
    assert kernel.told == ["attach 1", "detach"]
    assert in_virtual_time(kernel, 1) is kernel


@pytest.mark.parametrize(
    ("link", "dilation"), [(Link("a", "b", 20_000.0), 4.0), (Link("a", "b", 1.0, rate_bps=10_000), 2.0)]
)
def test_what_a_kernel_cannot_do_any_more_is_refused_with_the_dilation(link: Link, dilation: float) -> None:
    with pytest.raises(BadInput, match=rf"in wall time, at time.dilation {dilation:g}.*--fabric relay"):
        DilatedFabric(Kernel(), dilation).shape([link])
