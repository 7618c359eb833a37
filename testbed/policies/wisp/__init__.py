"""WISP (arXiv 2601.11652): devices draft until a learnt controller stops them, a server verifies by deadlines.

From readers' notes of the paper (its full text was not at hand): the controller's features and three-layer network,
the four-term estimate of a pass, urgent requests first and then value density, checks of memory and earliest deadline.
Ours: network widths and threshold, longest draft, form of the deadline, late requests, patience, prompts in parts; each
is a parameter or named where it is decided. What goes past the paper is off unless a parameter asks for it.

A device is its user's own machine: the role `user` runs the draft model.
"""

from testbed.policies.spec import PolicySpec
from testbed.policies.wisp.drafter import Drafter
from testbed.policies.wisp.params import WispParams
from testbed.policies.wisp.server import Server

SPEC = PolicySpec(
    name="wisp",
    description="users' devices draft until a learned controller stops them, one server verifies by deadline",
    params=WispParams,
    roles={"user": Drafter, "target": Server},
    passes=lambda params: {"target": frozenset({"batch"})},
    models={"user": frozenset({"draft"}), "target": frozenset({"target"})},
)
