"""WANSpec (arXiv 2602.18931): draft passes move to a worker across a WAN, at nearly unchanged latency.

The target's role is the controller, the drafter's the worker. With one branch both keep a path (`path`, `controller`,
`worker`), with more, or with our own rule, a tree (`tree`, `candidates`, `treecontroller`, `treeworker`); the decisions
are the same.

Stated in the paper: both listings, the two entropy thresholds, branch factor 2, the batch of most probable leaves, that
a contradicting candidate starts local drafting. Inferred: a target pass verifies all paths of k drafts; a local pass
extends the most probable leaf alone; a worker that is outrun goes on from the validated text; t_update starts with the
request. Ours: the bounds on look-ahead and tree size, `local_branches`, and what goes past the paper: the rule
`expected_arrival` with learned mismatches and a latency bound (`hedge`, `outlook`, `credit`), `switch_off` (`switch`).
"""

from testbed.policies.api import Role, RoleContext
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.policies.wanspec.controller import Controller
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.treecontroller import TreeController
from testbed.policies.wanspec.treeworker import TreeWorker
from testbed.policies.wanspec.worker import Worker


def make_controller(params: WanspecParams, context: RoleContext) -> Role:
    return TreeController(params, context) if params.uses_tree else Controller(params, context)


def make_worker(params: WanspecParams, context: RoleContext) -> Role:
    return TreeWorker(params, context) if params.uses_tree else Worker(params, context)


SPEC = PolicySpec(
    name="wanspec",
    description="speculation streamed from a worker site, local drafting only when a stall is expected",
    params=WanspecParams,
    roles={"user": make_user, "target": make_controller, "drafter": make_worker},
    passes=lambda params: dict.fromkeys(("target", "draft"), frozenset({"tree"})) if params.uses_tree else {},
    models={"target": frozenset({"target", "draft"}), "drafter": frozenset({"draft"})},
)
