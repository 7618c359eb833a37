"""WANSpec (arXiv 2602.18931): draft passes move to a worker across a WAN, at nearly unchanged latency.

`Controller` is the target's role, `Worker` the drafter's. Only one branch is supported.
"""

from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.policies.wanspec.controller import Controller
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.worker import Worker

SPEC = PolicySpec(
    name="wanspec",
    description="speculation streamed from a worker site, local drafting only when a stall is expected",
    params=WanspecParams,
    roles={"user": make_user, "target": Controller, "drafter": Worker},
    models={"target": frozenset({"target", "draft"}), "drafter": frozenset({"draft"})},
)
