"""`testbed probe`: a topology's network brought up alone, every directed link measured, nothing else running."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.emulation.bare_network import standing
from testbed.network.capabilities import FabricChoice
from testbed.network.measure.probe import PairSample
from testbed.network.spec.topology import load_topology


@dataclass(frozen=True)
class Survey:
    """What a probe of a whole topology found; `reasons` is empty when every link is within its tolerance."""

    topology: str
    fabric: str
    fabric_reason: str
    privilege: str
    priority: str  # of what shapes the links
    samples: tuple[PairSample, ...]
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """What `probe --json` prints."""
        keys = ("src", "dst", "specified_ms", "median_ms", "p99_ms", "one_way_median_ms", "sent", "received")
        return {
            "topology": self.topology,
            "fabric": self.fabric,
            "privilege": self.privilege,
            "priority": self.priority,
            "valid": not self.reasons,
            "reasons": list(self.reasons),
            "links": [{key: getattr(one, key) for key in keys} for one in self.samples],
        }

    @property
    def caution(self) -> str | None:
        """What the figures are worth where the shaper has to wait its turn; None where it goes first."""
        if self.priority != "SCHED_OTHER":
            return None
        return (
            "no real-time priority: other load delays packets, here and in every run, so more runs will not be "
            "valid; testbed doctor shows how to get it"
        )


def survey(name: str, fabric: FabricChoice, count: int, note: Callable[[str], None]) -> Survey:
    """One node per region, all directed links, `count` probes each. Raises BadInput or MachineCannot."""
    topology = load_topology(name)
    placement = {region: region for region in topology.region_names}
    note(f"bringing up {len(placement)} nodes")
    # of many links no pair is more important than another: the bare path is known from a few of each node
    with standing("probe", topology, placement, fabric, used=()) as net:
        note(f"fabric {net.fabric_name}: {net.fabric_reason}; measuring {len(net.links)} directed links")
        samples = tuple(net.probe_all(count))
        facts = net.facts()
        return Survey(
            topology=topology.name,
            fabric=net.fabric_name,
            fabric_reason=net.fabric_reason,
            privilege=str(facts["privilege"]),
            priority=str(facts.get("priority") or "the kernel's own"),
            samples=samples,
            reasons=tuple(net.invalid_reasons()),
        )


def render(result: Survey) -> Any:
    """The table of `testbed probe`."""
    from rich.table import Table

    table = Table(title=f"{result.topology} on {result.fabric} ({result.fabric_reason})", title_justify="left")
    for heading in ("from", "to"):
        table.add_column(heading)
    for heading in ("specified ms", "median ms", "error ms", "p99 ms", "received"):
        table.add_column(heading, justify="right")
    for one in result.samples:
        median = "-" if one.median_ms is None else f"{one.median_ms:.3f}"
        error = "-" if one.error_ms is None else f"{one.error_ms:+.3f}"
        p99 = "-" if one.p99_ms is None else f"{one.p99_ms:.3f}"
        table.add_row(one.src, one.dst, f"{one.specified_ms:.3f}", median, error, p99, f"{one.received}/{one.sent}")
    return table
