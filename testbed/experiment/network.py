"""What an experiment changes in its topology: the `network:` part of its file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from testbed.files.strict import MBIT_PER_S, SHARE, Strict, Unit
from testbed.files.yamlfile import problem
from testbed.network.spec.effects import EFFECTS
from testbed.network.spec.series import AtEnd, RttSeries, SeriesReplay
from testbed.network.spec.topology import BufferMilliseconds, BurstLossShares, Milliseconds, Topology


class NetworkOptions(Strict):
    """Every key left out leaves the topology as it is."""

    rtt_ms: Milliseconds | dict[str, dict[str, Milliseconds]] | None = Field(
        default=None,
        description="round-trip time of every pair of different regions, or of the pairs named, as in a topology file; "
        "null: the topology's",
        examples=[20, {"us-east-1": {"us-east-2": 20}}],
    )
    jitter_ms: Milliseconds | None = Field(
        default=None, description="uniform jitter of plus or minus this between all regions; null: the topology's"
    )
    loss: Annotated[float, SHARE, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="share of packets lost between all regions, each independently; null: the topology's",
    )
    burst_loss: BurstLossShares | None = Field(
        default=None, description="loss in bursts between all regions, in place of loss; null: the topology's"
    )
    reorder: Annotated[float, SHARE, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="share of packets sent at once, without the delay, between all regions; null: the topology's",
    )
    rate_mbit: Annotated[float, MBIT_PER_S, Field(ge=0.008, le=10_000)] | None = Field(
        default=None, description="rate of every directed link between regions; null: the topology's"
    )
    buffer_ms: BufferMilliseconds | None = Field(
        default=None, description="how long packets may queue for the rate; null: the topology's, or 50 ms"
    )
    rtt_series: str | None = Field(
        default=None,
        description="round-trip times over the run: a trace by name (testbed trace list) or path; it starts again with "
        "every policy and repeat",
        examples=["same-coast-spikes"],
    )
    speed: Annotated[float, Unit("trace seconds per second"), Field(ge=0.001, le=1000)] = Field(
        default=1.0, description="how fast rtt_series is replayed"
    )
    at_end: AtEnd = Field(
        default="loop", description="when rtt_series ends: start over (loop) or keep its last value (hold)"
    )
    series_sites: dict[str, str] = Field(
        default={}, description="region of the topology: site of rtt_series, where their names differ"
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.rtt_series is None:
            for key in ("speed", "at_end", "series_sites"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise problem((key,), f"network.{key} has no effect without network.rtt_series")
        elif self.rtt_ms is not None:
            raise problem(
                ("rtt_ms",), "network.rtt_ms and network.rtt_series both set round-trip times; remove one of them"
            )
        if self.loss and self.burst_loss is not None:
            raise problem(("burst_loss",), "network.loss and network.burst_loss both set the loss; remove one of them")
        return self

    def applied_to(self, topology: Topology) -> Topology:
        """The topology with the changes that last. Raises BadInput for a region it does not have."""
        changed = topology if self.rtt_ms is None else topology.with_rtt_ms(self.rtt_ms)
        options = {effect: getattr(self, effect.option) for effect in EFFECTS}
        return changed.with_effects(
            {effect.key: effect.of_option(value) for effect, value in options.items() if value is not None}
        )

    def replay_on(self, series: RttSeries) -> SeriesReplay:
        """How `rtt_series`, read, runs on the links."""
        return SeriesReplay(series, self.speed, self.at_end, self.series_sites)
