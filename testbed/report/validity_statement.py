"""How far a run can be trusted, in plain words: what was checked, what was found, and what no check here can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.experiment.compute import RECORDED
from testbed.results import forecast, heldclock, overload
from testbed.results.lateness import FEWEST_PASSES, HANDED_ON, TOOK_LONGER
from testbed.results.manifest import steal_share
from testbed.results.recorded import recorded_compute
from testbed.results.sampling import GREEDY, unverified
from testbed.results.unmet import sentence
from testbed.results.validity import LIMITS

Summary = Mapping[str, Any]


def statements(summary: Summary, manifest: Mapping[str, Any]) -> list[str]:
    """One short paragraph a check, in the order in which a sceptic asks."""
    emulated = summary["engine"] == "emulation"
    links, messages = summary["links"], summary["network"]
    dilation = heldclock.dilation_of(manifest)
    checked = [_links(links, dilation), _during(links), _replay(links), _packets(links), _stale(messages)]
    recorded = recorded_compute(summary)
    checked.append(_compute(summary["compute"], HANDED_ON if recorded else TOOK_LONGER))
    checked += [_clock(summary), _tcp(summary)]
    checked.append(f"Plan: {forecast.compared(summary['plan'])}." if "plan" in summary else "")
    found = [
        _lossless(summary["lossless"], summary.get("sampling")),
        *(
            f"Not lossless by choice: {label} {unverified(counts)}. Its numbers do not describe the target's text."
            for label, counts in summary.get("not_lossless_by_choice", {}).items()
        ),
        *(f"Event after the last request: {sentence(one)}." for one in summary.get("unmet_events", ())),
        *(f"More requests than could be served: {overload.sentence(one)}." for one in summary.get("overload", ())),
        *(checked if emulated else []),
        *_overhead(summary["policies"]),
        *([_machine(manifest)] if emulated else []),
        _real_and_emulated(emulated, recorded, manifest),
    ]
    return [statement for statement in found if statement]


def _lossless(lossless: Mapping[str, Any], sampling: str | None) -> str:
    checked, equal = lossless["checked"], lossless["equal"]
    if not checked:
        return "Outputs: none was compared with target-only decoding, so losslessness is unknown."
    if lossless.get("kind") == RECORDED:
        return f"Outputs: {equal} of {checked} are as recorded. No model ran, so losslessness was not checked."
    if equal == checked:
        drawn = "" if sampling in (None, GREEDY) else f" with the same seeds (sampling: {sampling})"
        return f"Outputs: all {checked} were compared with target-only decoding{drawn} and are equal token by token."
    return f"Outputs: {checked - equal} of {checked} differ from target-only decoding. This must not happen."


def _clock(summary: Summary) -> str:
    return f"Clock: {heldclock.sentence(summary['clock'])}." if "clock" in summary else ""


def _tcp(summary: Summary) -> str:
    tcp = summary.get("tcp")
    if tcp is None:
        return ""
    again = f"{tcp['sent_again']} segments were sent again, {tcp['duplicates']} of them though they had arrived"
    return (
        f"TCP: {tcp['congestion_control']}; no retransmission timeout was shorter than "
        f"{tcp['shortest_timeout_ms'] or 0:.0f} ms of this machine's time (least that is right: "
        f"{tcp['least_timeout_ms']:.0f} ms); {again}; {tcp['repaired_without_loss']} were missing on links without "
        "loss (allowed: none)."
    )


def _links(links: Mapping[str, Any], dilation: float) -> str:
    if links["worst_median_error_ms"] is None:
        return "Links: no round-trip time was measured."
    return (
        f"Links: on {links['pairs']} directed links the median round-trip time was at worst "
        f"{links['worst_median_error_ms']:.2f} ms from its specification (allowed: {LIMITS.link_median_error_ms} ms or "
        f"{LIMITS.link_median_error_share:.0%}, whichever is more), the 99th percentile {links['p99_error_ms']:.2f} ms "
        f"(allowed: {LIMITS.link_p99_error_ms:g} ms).{_wall(links, dilation)}"
    )


def _wall(links: Mapping[str, Any], dilation: float) -> str:
    """What the errors are on this machine, where its time is not the run's."""
    if dilation == 1:
        return ""
    wall = links["wall"]
    return (
        f" By this machine's clock, which goes {dilation:g} times as fast as the run's, these are "
        f"{wall['worst_median_error_ms']:.2f} ms and {wall['p99_error_ms']:.2f} ms."
    )


def _during(links: Mapping[str, Any]) -> str:
    during = links.get("during")  # None: a run that was not watched, or of before this was done
    if during is None:
        return ""
    if during["worst_median_error_ms"] is None:
        return f"Links during the run: {during['probes']} probes, too few for a judgement."
    return (
        f"Links during the run: {during['probes']} probes over {during['pairs']} pairs in use; at worst the median of "
        f"one of {during['windows']} windows was {during['worst_median_error_ms']:.2f} ms off, the 99th percentile of "
        f"all was {during['p99_error_ms']:+.2f} ms off; {during['lost']} were lost unexpectedly."
    )


def _replay(links: Mapping[str, Any]) -> str:
    replay = links.get("replay")
    if replay is None:
        return ""
    return (
        f"Changes of links: {replay['steps']} while the run went on, in force {replay['late_p99_ms']:.1f} ms after "
        f"their time (99th percentile, or the latest if there are few; allowed: {LIMITS.replay_late_ms:g} ms)."
    )


def _packets(links: Mapping[str, Any]) -> str:
    unmatched = links["unmatched_packets"]
    if unmatched:
        return f"Packets: {unmatched} bypassed their link's delay. Latencies of this run mean little."
    ends = {"lost_packets": "lost as the links specify", "cut_packets": "sent into cut links",
            "dropped_packets": "dropped by full queues"}  # fmt: skip
    counted = [f"{links[key]} were {what}" for key, what in ends.items() if links.get(key)]
    # a run of before drops were counted says nothing of them
    lost = f" {', '.join(counted)}." if counted else " None was dropped." if "dropped_packets" in links else ""
    return f"Packets: every packet was delayed by its own link; none took another route.{lost}"


def _stale(network: Mapping[str, Any]) -> str:
    stale = network.get("stale_messages")
    if not stale:
        return ""
    return f"Messages: {stale} arrived after their policy had ended and were ignored."


def _compute(compute: Mapping[str, Any], what: str) -> str:
    if compute["overrun_share"] is None:
        return "Compute: no forward pass ran."
    return (
        f"Compute: {compute['overruns']} of {compute['steps']} forward passes ({compute['overrun_share']:.2%}) {what}; "
        f"their total delay is {compute['overrun_time_share']:.2%} of the busy time. "
        f"Allowed are {LIMITS.overrun_step_share:.0%} of the passes and {LIMITS.overrun_time_share:.0%} of the time of "
        f"each policy, node and kind of pass with {FEWEST_PASSES} passes or more.{_worst(compute)}"
    )


def _worst(compute: Mapping[str, Any]) -> str:
    """A device that few passes ran on can drown in the run's total, so the worst is named if there was any overrun."""
    devices = [one for one in compute.get("by_device", ()) if one["passes"] >= FEWEST_PASSES]  # older runs have none
    if devices and (worst := max(devices, key=lambda one: float(one["late_share"])))["late"]:
        where = f"{worst['policy']}, {worst['kind']} passes on {worst['node']}"
        return f" Worst: {where}, {worst['late_share']:.2%} of {worst['passes']}."
    label, share = max(compute["by_policy"].items(), key=lambda item: item[1] or 0.0)
    return f" Worst policy: {label}, {share:.2%} of its passes." if share else ""


def _overhead(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = [(label, m["round_overhead_ms"]) for label, m in policies.items() if m["round_overhead_ms"] is not None]
    if not known:
        return []
    parts = ", ".join(f"{overhead['median']:.2f} ms ({label})" for label, overhead in known)
    return [f"Overhead: beyond the emulated device time, the testbed adds to a round (median) {parts}."]


def _machine(manifest: Mapping[str, Any]) -> str:
    before, after = manifest.get("before", {}), manifest.get("after", {})
    load, steal = after.get("load_average"), steal_share(before, after)
    parts = [] if load is None else [f"a load average of {load[0]:.1f} at the end"]
    parts += [] if steal is None else [f"{steal:.2%} of its CPU time stolen by other machines on the host"]
    cores = manifest.get("machine", {}).get("cores")
    return f"Machine: {cores or 'an unknown number of'} cores, with " + " and ".join(parts) + "." if parts else ""


def _real_and_emulated(emulated: bool, recorded: bool, manifest: Mapping[str, Any]) -> str:
    if not emulated:
        return (
            "What is real: the tokens, from recorded decode tables. Time is virtual: forward passes take the time of "
            "the device profile, links the delay of the topology."
        )
    devices = manifest["scenario"].get("devices") or {}
    named = f" ({', '.join(f'{role}: {device}' for role, device in devices.items())})" if devices else ""
    if recorded:
        return (
            "What is real: sockets, TCP and the delay of every packet. No model ran: tokens and acceptance are those "
            f"of a decode table, the time of a forward pass follows a device profile{named}."
        )
    return (
        f"What is real: tokens, acceptance, sockets, TCP and the delay of every packet. What is emulated: the time "
        f"of a forward pass, which follows a device profile{named}. Acceptance is that of these small models; larger "
        "models agree more or less often, and every ratio here depends on that."
    )
