"""Which Python packages a node program needs, by the name of their distribution: what an image of nodes holds.

Rule: nodes whose models are mapped (`testbed.models.packs`) need `ROOTS` alone; only transformers' own path needs more.
"""

from __future__ import annotations

import importlib.metadata as metadata

from testbed.policies.registry import GROUP as POLICIES

OURS = "wan-testbed"
# what `testbed.nodes` imports; the rest of the project's dependencies is for the engine, reports and sweeps
ROOTS = ("msgspec", "numpy", "pydantic", "pyyaml", "threadpoolctl")
MORE = ("safetensors", "tokenizers", "torch", "transformers")  # of nodes that load a model by transformers


def needed() -> list[str]:
    """The roots of every node, and the other distributions whose policies an experiment may name."""
    adding = {point.dist.name for point in metadata.entry_points(group=POLICIES) if point.dist is not None}
    return [*ROOTS, *sorted(adding - {OURS})]
