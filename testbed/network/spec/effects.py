"""What a link can do to packets besides delaying them: one table of the effects, which those who list effects read.

An effect is one matrix of a topology, one key of `network:` in an experiment and one field of a `Link`. How packets
meet it is the business of each fabric, of the simulation and of the check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from testbed.network.spec.fabric import BurstLoss


class Effect(NamedTuple):
    """`key` names the matrix of a topology and the field of a link."""

    key: str
    option: str  # key of `network:`, for all links between regions
    scale: int = 1  # of the option's number, to the key's
    by_chance: bool = False  # packets of one link may fare differently
    field: str | None = None  # of a link, where it is another quantity

    def of_option(self, value: Any) -> Any:
        """What an option says, in the key's unit."""
        return value if self.scale == 1 else round(value * self.scale)


EFFECTS = (
    Effect("jitter_ms", "jitter_ms", by_chance=True),
    Effect("loss", "loss", by_chance=True),
    Effect("burst_loss", "burst_loss", by_chance=True),
    Effect("reorder", "reorder", by_chance=True),
    Effect("rate_bps", "rate_mbit", scale=1_000_000),
    Effect("buffer_ms", "buffer_ms", field="buffer_bytes"),
)
EXCLUDE_EACH_OTHER = ("loss", "burst_loss")
BY_CHANCE = frozenset(effect.key for effect in EFFECTS if effect.by_chance)


class Effects:
    """What follows from the effects of a link, emulated or simulated."""

    jitter_ms: float
    loss: float
    burst_loss: BurstLoss | None
    reorder: float

    @property
    def loses(self) -> bool:
        """A packet may be lost."""
        return self.loss > 0 or self.burst_loss is not None

    @property
    def keeps_order(self) -> bool:
        """All packets are delayed alike, so that none overtakes another."""
        return not (self.jitter_ms or self.reorder)

    @property
    def by_chance(self) -> bool:
        """Two packets may fare differently."""
        return self.loses or not self.keeps_order
