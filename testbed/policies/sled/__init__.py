"""SLED (arXiv 2506.09397): devices draft with their own small models, one server verifies for all of them in batches.

From the paper: drafting and verification are apart, devices are many and unlike, the server batches across them. From
readers of its SEC 2025 version and a public re-implementation: the confidence threshold, drafting while waiting, the
static padded batch, timeout and asking again. Ours: what to do when no full batch can come, prompts ahead of the
batches, and admission by memory.

The fallback of the paper, by which a device that waited too often hands out unverified tokens, is `fall_back`: off by
default, and a run that asks for it is stamped, since its outputs are not lossless by choice. Ours there: the text goes
on after what was handed out, so the device sends it as a new request, and the server forgets the old one.

A device is its user's own machine: the role `user` runs the draft model.
"""

from testbed.policies.sled.drafter import Drafter
from testbed.policies.sled.params import SledParams
from testbed.policies.sled.server import Server
from testbed.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="sled",
    description="users' devices draft, one server verifies in static batches",
    params=SledParams,
    roles={"user": Drafter, "target": Server},
    passes=lambda params: {"target": frozenset({"batch"})},
    models={"user": frozenset({"draft"}), "target": frozenset({"target"})},
)
