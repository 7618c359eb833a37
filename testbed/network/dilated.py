"""Links in virtual time on a fabric whose packets wait in a kernel: the one place where they become wall time.

A kernel's queues know nothing of the run's clock. At dilation N their delays are N times as long, their rates an Nth;
a buffer holds the same bytes, and shares stay shares. The relay needs none of this: its queue reads the run's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from testbed.errors import BadInput
from testbed.network.netem.plan import rate_buffer_bytes
from testbed.network.spec.fabric import Counters, Fabric, FabricName, Link, Pair, Port

T = TypeVar("T")


def in_wall_time(link: Link, dilation: float) -> Link:
    """The link that is, to a clock that runs an Nth as fast, the one given."""
    stretched = replace(link, one_way_ms=link.one_way_ms * dilation, jitter_ms=link.jitter_ms * dilation)
    if link.rate_bps is None:
        return stretched
    # the buffer is given: where it follows from the rate, it follows from the one that was asked for
    return replace(stretched, rate_bps=round(link.rate_bps / dilation), buffer_bytes=rate_buffer_bytes(link))


def in_virtual_time(fabric: Fabric, dilation: float) -> Fabric:
    """The fabric as the run sees it."""
    return fabric if dilation == 1 else DilatedFabric(fabric, dilation)


class DilatedFabric:
    """A fabric (see `Fabric`) in wall time, asked in virtual time."""

    def __init__(self, fabric: Fabric, dilation: float) -> None:
        self.name: FabricName = fabric.name
        self._fabric = fabric
        self._dilation = dilation

    def attach(self, ports: Sequence[Port]) -> None:
        self._fabric.attach(ports)

    def shape(self, links: Sequence[Link]) -> None:
        self._carry(self._fabric.shape, links)

    def change(self, links: Sequence[Link]) -> None:
        self._carry(self._fabric.change, links)

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        return self._carry(self._fabric.prepare, links)

    def read_back(self) -> dict[Pair, float]:
        return {pair: one_way_ms / self._dilation for pair, one_way_ms in self._fabric.read_back().items()}

    def counters(self) -> Counters:
        return self._fabric.counters()

    def facts(self) -> dict[str, object]:
        return self._fabric.facts()

    def died(self) -> str | None:
        return self._fabric.died()

    def detach(self) -> None:
        self._fabric.detach()

    def _carry(self, verb: Callable[[Sequence[Link]], T], links: Sequence[Link]) -> T:
        try:
            return verb([in_wall_time(link, self._dilation) for link in links])
        except BadInput as error:
            raise BadInput(
                f"{error} (in wall time, at time.dilation {self._dilation:g}); use a dilation nearer to 1, or --fabric "
                "relay"
            ) from None
