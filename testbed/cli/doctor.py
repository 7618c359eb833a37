"""`testbed doctor`: what this machine can do, what is missing, and the one command that fixes each item."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Any

from testbed.cli.version import installed
from testbed.errors import MachineCannot
from testbed.network.capabilities import (
    Capabilities,
    FabricChoice,
    choose_fabric,
    missing,
    of_ordinary_user,
    probe_capabilities,
)

FABRICS: tuple[FabricChoice, ...] = ("netem", "relay", "lab")


def examine() -> dict[str, Any]:
    """Everything `doctor --json` prints; `fabric` is None when this machine can offer none."""
    caps = probe_capabilities()
    fabric, reason = _choice("auto", caps)
    return {
        "fabric": fabric,
        "fabric_reason": reason,
        "fabrics": {name: _availability(name, caps) for name in FABRICS},
        "docker": _engine_version(),  # a fact, not a requirement: nodes are processes unless containers are requested
        "gpu": caps.gpus,
        "cores": caps.cores,
        "cgroup_version": caps.cgroup_version,
        "kernel": caps.kernel,
        "qdiscs": caps.qdiscs,
        "tcp_congestion_control": caps.tcp_congestion_control,
        "root": caps.root,
        "privilege": caps.privilege,
        "user_namespaces": caps.user_namespace,
        "realtime": caps.realtime,
        "tun": caps.tun,
        "tun_mode": caps.tun_mode,
        "without_root": _without_root(caps),
        "mininet": installed("mininet"),
        "mnexec": "distribution" if caps.mnexec else "stand-in",
        "lab_kernel": caps.uml,
        "torch": installed("torch"),
        "transformers": installed("transformers"),
        "missing": [asdict(one) for one in missing(caps)],
    }


def render(findings: dict[str, Any]) -> Any:
    """The same for a person."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    chosen = findings["fabric"] or "none"
    head = Text(f"fabric: {chosen} ({findings['fabric_reason']})", style="bold")
    facts = Table(title="this machine", title_justify="left", show_header=False)
    for key in ("kernel", "cores", "docker", "gpu", "cgroup_version", "lab_kernel", "mininet", "mnexec"):
        facts.add_row(key, "none" if findings[key] is None else str(findings[key]))
    facts.add_row("qdiscs", ", ".join(name for name, there in findings["qdiscs"].items() if there) or "none")
    for name, state in findings["fabrics"].items():
        facts.add_row(f"fabric {name}", state)
    for key, text in _privilege_rows(findings).items():
        facts.add_row(key, text)
    facts.add_row("torch, transformers", f"{findings['torch']}, {findings['transformers']}")
    if not findings["missing"]:
        return Group(head, facts, Text("nothing is missing"))
    table = Table(title="missing, and how to fix it", title_justify="left")
    for heading in ("missing", "effect", "fix"):
        table.add_column(heading, overflow="fold")
    for one in findings["missing"]:
        table.add_row(one["what"], one["effect"], _with_what_it_opens(one))
    return Group(head, facts, table)


def _without_root(caps: Capabilities) -> dict[str, Any]:
    """What an ordinary user of this machine gets: its fabric, why, and what would give it more."""
    ordinary = of_ordinary_user(caps)
    fabric, reason = _choice("auto", ordinary)
    fixable = [asdict(one) for one in missing(ordinary) if one not in missing(caps)]
    return {"fabric": fabric, "fabric_reason": reason, "missing": fixable}


def _privilege_rows(findings: dict[str, Any]) -> dict[str, str]:
    held, mode = findings["privilege"], findings["tun_mode"]
    opens = "accessible" if findings["tun"] else "not accessible"
    if held == "none" and findings["user_namespaces"]:
        held = "none; runs enter a user namespace"
    rows = {
        "privilege": held,
        "real-time priority": "yes" if findings["realtime"] else "no",
        "/dev/net/tun": "missing" if mode is None else f"mode {mode}, {opens}",
        "user namespaces for ordinary users": "allowed" if findings["user_namespaces"] else "refused",
    }
    if findings["root"]:
        ordinary = findings["without_root"]
        rows["fabric without root"] = ordinary["fabric"] or f"none ({ordinary['fabric_reason']})"
        helps = [f"{one['what']}: {_with_what_it_opens(one)}" for one in ordinary["missing"]]
        rows["to give it more"] = "\n".join(helps) or "-"
    return rows


def _with_what_it_opens(one: dict[str, str]) -> str:
    return f"{one['fix']}\n(grants {one['opens']})" if one["opens"] else one["fix"]


def _choice(name: FabricChoice, caps: Capabilities) -> tuple[str | None, str]:
    try:
        return choose_fabric(name, caps)
    except MachineCannot as error:
        return None, str(error)


def _availability(name: FabricChoice, caps: Capabilities) -> str:
    fabric, reason = _choice(name, caps)
    return "available" if fabric else reason


def _engine_version() -> str | None:
    """Of the engine that `--nodes docker` would use; None when none answers, or not properly."""
    from testbed.containers.engine import connect, facts

    try:
        with contextlib.closing(connect()) as client:
            return str(facts(client)["engine"])
    except MachineCannot:
        return None
