"""What is in force on the links of a fabric made of queues: the netem leaves towards nodes, the rate stages on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from testbed.network.netem.leaves import NetemLeaves
from testbed.network.netem.rate_stages import RateStages
from testbed.network.spec.fabric import Counters, Link, Pair


class Shaping:
    """The leaves and the stages of all pairs, which change together."""

    def __init__(self, leaves: NetemLeaves, stages: RateStages) -> None:
        self.leaves = leaves
        self._stages = stages
        self._links: dict[Pair, Link] = {}  # in force on the stages

    def prepare(self, links: Mapping[Pair, Link]) -> Callable[[], None]:
        """See Fabric.prepare; rate stages are worked out when it is time, as they seldom change."""
        return functools.partial(self._bring_into_force, links, self.leaves.prepare(links))

    def counters(self) -> Counters:
        return self.leaves.counters(self._stages.qdiscs())

    def _bring_into_force(self, links: Mapping[Pair, Link], change_leaves: Callable[[], None]) -> None:
        in_force = {**self._links, **links}
        if self._stages.concern(links.values()):
            self._stages.apply(in_force.values())
        self._links = in_force  # for the stages, which stay as they are should the leaves be refused
        change_leaves()
