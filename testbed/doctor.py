"""`testbed doctor`: what this machine can do, what it lacks, and the one command that mends each lack."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from typing import Any

from testbed.errors import MachineCannot
from testbed.network.capabilities import Capabilities, FabricChoice, choose_fabric, lacks, probe_capabilities

FABRICS: tuple[FabricChoice, ...] = ("netem", "relay", "lab")


def examine() -> dict[str, Any]:
    """Everything `doctor --json` prints; `fabric` is None when this machine can offer none."""
    caps = probe_capabilities()
    fabric, reason = _choice("auto", caps)
    return {
        "fabric": fabric,
        "fabric_reason": reason,
        "fabrics": {name: _availability(name, caps) for name in FABRICS},
        "docker": caps.docker_engine,  # a fact and no lack: nodes run as processes in this version
        "gpu": caps.gpus,
        "cores": caps.cores,
        "cgroup_version": caps.cgroup_version,
        "kernel": caps.kernel,
        "qdiscs": caps.qdiscs,
        "tcp_congestion_control": caps.tcp_congestion_control,
        "root": caps.root,
        "tun": caps.tun,
        "mininet": _version("mininet"),
        "mnexec": "distribution" if caps.mnexec else "stand-in",
        "lab_kernel": caps.uml,
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "lacks": [asdict(lack) for lack in lacks(caps)],
    }


def render(findings: dict[str, Any]) -> Any:
    """The same for a person."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    chosen = findings["fabric"] or "none"
    head = Text(f"fabric: {chosen} ({findings['fabric_reason']})", style="bold")
    facts = Table(title="this machine", title_justify="left", show_header=False)
    for key in ("kernel", "cores", "root", "docker", "gpu", "cgroup_version", "tun", "lab_kernel", "mininet", "mnexec"):
        facts.add_row(key, "none" if findings[key] is None else str(findings[key]))
    facts.add_row("qdiscs", ", ".join(name for name, there in findings["qdiscs"].items() if there) or "none")
    for name, state in findings["fabrics"].items():
        facts.add_row(f"fabric {name}", state)
    facts.add_row("torch, transformers", f"{findings['torch']}, {findings['transformers']}")
    if not findings["lacks"]:
        return Group(head, facts, Text("nothing is missing"))
    missing = Table(title="missing, and what mends it", title_justify="left")
    for heading in ("missing", "so", "mend"):
        missing.add_column(heading, overflow="fold")
    for lack in findings["lacks"]:
        missing.add_row(lack["what"], lack["effect"], lack["mend"])
    return Group(head, facts, missing)


def _choice(name: FabricChoice, caps: Capabilities) -> tuple[str | None, str]:
    try:
        return choose_fabric(name, caps)
    except MachineCannot as error:
        return None, str(error)


def _availability(name: FabricChoice, caps: Capabilities) -> str:
    fabric, reason = _choice(name, caps)
    return "available" if fabric else reason


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
