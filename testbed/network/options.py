"""What an experiment changes in its topology: the `network:` part of its file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from testbed.network.series import AtEnd, RttSeries, SeriesReplay
from testbed.network.topology import BufferMilliseconds, BurstLossShares, Milliseconds, Topology
from testbed.strict import Strict
from testbed.yamlfile import problem


class NetworkOptions(Strict):
    """Every key left out leaves the topology as it is."""

    # of every pair of different regions, or of the pairs named, as in a topology file; the topology's own otherwise
    rtt_ms: Milliseconds | dict[str, dict[str, Milliseconds]] | None = None

    # between all different regions; the topology's own otherwise
    jitter_ms: Milliseconds | None = None  # uniform in plus or minus this
    loss: Annotated[float, Field(ge=0, lt=1)] | None = None  # share of packets, each for itself
    burst_loss: BurstLossShares | None = None  # in place of loss: `{p: 0.01, r: 0.25}` loses in bursts
    reorder: Annotated[float, Field(ge=0, le=1)] | None = None  # share of packets sent at once, without the delay
    rate_mbit: Annotated[float, Field(ge=0.008, le=10_000)] | None = None  # megabits per second
    buffer_ms: BufferMilliseconds | None = None  # of packets that wait for the rate; 50 ms at the rate otherwise
    # round-trip times over the run, from workloads/rtt/ or a path; each phase starts the series anew
    rtt_series: str | None = None
    speed: Annotated[float, Field(ge=0.001, le=1000)] = 1.0  # series seconds a run second
    at_end: AtEnd = "loop"  # then the series starts over; `hold` keeps its last value
    series_sites: dict[str, str] = {}  # the topology's region to the series' site, where they are called differently

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.rtt_series is None:
            for key in ("speed", "at_end", "series_sites"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise problem((key,), f"network.{key} does nothing without network.rtt_series")
        elif self.rtt_ms is not None:
            raise problem(("rtt_ms",), "network.rtt_ms and network.rtt_series both set round-trip times; leave one out")
        if self.loss and self.burst_loss is not None:
            raise problem(("burst_loss",), "network.loss and network.burst_loss both say what is lost; leave one out")
        return self

    def applied_to(self, topology: Topology) -> Topology:
        """The topology with the changes that last. Raises BadInput for a region it does not have."""
        rate_bps = None if self.rate_mbit is None else round(self.rate_mbit * 1e6)
        changed = topology if self.rtt_ms is None else topology.with_rtt_ms(self.rtt_ms)
        return changed.with_links(self.jitter_ms, self.loss, rate_bps, self.burst_loss, self.reorder, self.buffer_ms)

    def replay_on(self, series: RttSeries) -> SeriesReplay:
        """How `rtt_series`, read, runs on the links."""
        return SeriesReplay(series, self.speed, self.at_end, self.series_sites)
