"""What a run was, for the setting in its report: models, devices, places, distance, prompts, fabric, machine.

Rule: distances are what the run specified for its links, from its log; roles are told by the passes that ran, not by
names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.results.sampling import GREEDY, law_of
from testbed.results.store import RunData

Fact = tuple[str, str]  # term, what it was


def facts(run: RunData) -> list[Fact]:
    """In the order of a reader's questions; a fact that the manifest leaves open is left out."""
    manifest, scenario = run.manifest, run.manifest["scenario"]
    found = (
        ("Models", _models(manifest["models"])),
        ("Devices", ", ".join(f"{role} {device}" for role, device in scenario["devices"].items())),
        ("Pass times", "; ".join(f"{role}: {law}" for role, law in manifest.get("pass_times", {}).items())),
        ("Topology", _topology(run)),
        ("Prompts", _prompts(manifest["prompts"]["name"], scenario)),
        ("Sampling", _sampling(manifest)),
        ("RTT series", _series(manifest)),
        ("Engine", f"{manifest['engine']}, nodes: {manifest['nodes']}"),
        ("Fabric", " ".join(_fabric(manifest))),
        ("Machine", _machine(manifest.get("machine", {}))),
    )
    return [fact for fact in found if fact[1]]


def worker_rtts_ms(run: RunData) -> dict[str, float]:
    """Specified RTT between the target's nodes and each site that drafted away from them; the first link of a site."""
    steps = run.steps
    targets = set(steps.loc[steps["kind"] == "verify", "node"])
    workers = set(steps.loc[steps["kind"] == "draft", "node"]) - targets
    links = run.links[run.links["src"].isin(targets) & run.links["dst"].isin(workers)]
    sites = links["dst"].map(run.manifest["node_placement"])
    return {str(site): float(rtt) for site, rtt in links.groupby(sites)["specified_ms"].first().items()}


def _models(models: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{role} {model['name']}" + (f" ({model['sha256'][:8]})" if model["sha256"] else "")
        for role, model in models.items()
    )


def _topology(run: RunData) -> str:
    placed = (f"{role} {_sites(where)}" for role, where in run.manifest["scenario"]["place"].items() if where)
    rtts = (f"worker RTT {rtt:.1f} ms ({site})" for site, rtt in worker_rtts_ms(run).items())
    return f"{run.manifest['topology']['name']}: {', '.join([*placed, *rtts])}"


def _sites(where: str | list[str] | Mapping[str, int]) -> str:
    if isinstance(where, str):
        return where
    if isinstance(where, Mapping):
        return " and ".join(f"{count} x {site}" for site, count in where.items())
    return " and ".join(where)


def _prompts(name: str, scenario: Mapping[str, Any]) -> str:
    work = scenario["workload"]
    repeats = f" x {scenario['repeats']} repeats" if scenario["repeats"] > 1 else ""
    return f"{name}: {work['requests']} requests{repeats} a policy, {work['output_tokens']} output tokens each"


def _sampling(manifest: Mapping[str, Any]) -> str:
    """Nothing for greedy decoding, which is what readers expect."""
    sampling = manifest.get("sampling", GREEDY)  # a run of before this was said
    return "" if sampling == GREEDY else f"{law_of(manifest['scenario'])}: {sampling}"


def _series(manifest: Mapping[str, Any]) -> str:
    series = manifest.get("rtt_series")
    if not series:
        return ""
    network = manifest["scenario"]["network"]
    return (
        f"{series['name']} ({series['kind']}, {series['sha256'][:8]}), {series['seconds']:g} s at "
        f"{network['speed']:g} x speed, then {network['at_end']}; the specified delays are the topology's"
    )


def _fabric(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield manifest["fabric"]
    if reason := manifest.get("fabric_reason"):
        yield f"({reason})"


def _machine(machine: Mapping[str, Any]) -> str:
    cores = f"{machine['cores']} cores" if machine.get("cores") else None
    return ", ".join(str(part) for part in (machine.get("cpu_model"), cores, machine.get("kernel")) if part)
