"""`python -m testbed.bench [SECTION...] [--json]`: each figure beside what it is compared with, in one run.

Sections: `network` is the fabrics' links, `network:relay` those of one; `replay` links that change on time;
`containers` nodes in containers; `star` Mininet's links beside ours; `passes` real passes of the shipped pair by the
lean path and by transformers; `nodes` what starting and holding nodes costs either way; `machinery` the rest. None
named: all of them.

`python -m testbed.bench TRIAL [OPTIONS]`: a long trial of docs/reliability.md; `TRIAL --help` says its options.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module

from testbed.bench.containers import container_figures
from testbed.bench.machinery import machinery_figures
from testbed.bench.measurement import Measurement, readable
from testbed.bench.network import FABRICS, network_figures
from testbed.bench.nodes import nodes_figures
from testbed.bench.passes import passes_figures
from testbed.bench.replay import replay_figures
from testbed.bench.star import star_figures
from testbed.errors import BadInput, TestbedError
from testbed.results.manifest import gather

SECTIONS: dict[str, Callable[[], list[Measurement]]] = {
    "network": network_figures,
    "replay": replay_figures,
    "containers": container_figures,
    "star": star_figures,
    "passes": passes_figures,
    "nodes": nodes_figures,
    "machinery": machinery_figures,
}

# A module of this package each, with `main(arguments) -> exit status`; imported when asked for.
TRIALS = ("compile", "concurrent", "demo", "families", "faults", "fuzz", "kill", "plans", "rooms", "soak", "sweepkill")


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in TRIALS:
        status: int = import_module(f"testbed.bench.{arguments[0]}").main(arguments[1:])
        return status
    sections = SECTIONS | {f"network:{fabric}": partial(network_figures, [fabric]) for fabric in FABRICS}
    asked = [argument for argument in arguments if argument != "--json"] or list(SECTIONS)
    if unknown := [name for name in asked if name not in sections]:
        raise BadInput(
            f"bench: no section {unknown[0]!r}; sections: {', '.join(sections)}; trials: {', '.join(TRIALS)}"
        )
    figures = [one for name in asked for one in sections[name]()]
    machine = gather()
    if "--json" in arguments:
        print(json.dumps({"machine": machine, "figures": [asdict(one) for one in figures]}, indent=2))
        return 0
    print(f"{machine['cpu_model']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}")
    for one in figures:
        spread = f"[{readable(one.low)}, {readable(one.high)}]"
        print(f"{one.name:42} {readable(one.value):>10} {one.unit:9} {spread}  {one.compared_with}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TestbedError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
