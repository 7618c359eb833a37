"""WANSpec (arXiv 2602.18931): draft passes move to a worker across a WAN, at nearly unchanged latency.

The target's role is the controller (`controller`, `candidates`), the drafter's the worker (`worker`). Both keep a tree
(`tree`). With one branch it is a path, drafted and verified by passes of one request (`drafting`).

Stated in the paper: both listings, the two entropy thresholds, branch factor 2, the batch of most probable leaves, that
a contradicting candidate starts local drafting. Inferred: a target pass verifies all paths of k drafts; a local pass
extends the most probable leaf alone; a worker that is outrun goes on from the validated text; t_update starts with the
request. Ours: the bounds on look-ahead and tree size, `local_branches`, and what goes past the paper: the rule
`expected_arrival` with learned mismatches and a latency bound (`hedge`, `outlook`, `credit`), `switch_off` (`switch`),
the choice among several workers and moving on to another (`policies.placement`).
"""

from testbed.policies.api import Role, RoleContext
from testbed.policies.placement.options import of, wants_load
from testbed.policies.placement.report import DrafterReporting
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.policies.wanspec.controller import Controller
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.worker import Worker


def make_worker(params: WanspecParams, context: RoleContext) -> Role:
    worker, placement = Worker(params, context), of(params.placement)
    return DrafterReporting(worker, placement.report_ms) if placement.reports else worker


SPEC = PolicySpec(
    name="wanspec",
    description="drafts streamed from a worker site, local drafting only when a stall is expected",
    params=WanspecParams,
    roles={"user": make_user, "target": Controller, "drafter": make_worker},
    passes=lambda params: dict.fromkeys(("target", "draft"), frozenset({"tree"})) if params.branches > 1 else {},
    device_samples=wants_load,
    models={"target": frozenset({"target", "draft"}), "drafter": frozenset({"draft"})},
)
