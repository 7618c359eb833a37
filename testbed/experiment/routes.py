"""What of `routing:` does not fit the targets that an experiment places."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from testbed.files.yamlfile import Mistake, nearest
from testbed.files.yamltext import KeyPath
from testbed.policies.routing.options import Routing, Rule, of


def misfits(at: KeyPath, given: Rule | Routing | None, targets: Collection[str]) -> Iterator[Mistake]:
    """Nothing where nothing is given."""
    if given is None:
        return
    routing = of(given)
    if len(targets) == 1:
        yield Mistake(
            at, "routing: there is one target, so there is nothing to choose; place several targets, or remove routing"
        )
    if routing.rule == "weighted" and routing.weights is None:
        yield Mistake(at, "routing: weighted needs weights, as in {rule: weighted, weights: {target0: 3}}")
    elif routing.rule != "weighted" and routing.weights is not None:
        yield Mistake((*at, "weights"), f"routing: weights belong to rule: weighted, not to {routing.rule}")
    if routing.weights is not None and not any(routing.weights.get(node, 1.0) for node in targets):
        yield Mistake((*at, "weights"), "routing: every target has weight 0; give one of them more")
    for node in routing.weights or ():
        if node not in targets:
            yield Mistake((*at, "weights", node), f"routing: no target {node!r}{nearest(node, targets)}")
