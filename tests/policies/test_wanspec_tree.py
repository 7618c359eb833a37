"""The tree roles one event at a time: what a node's parent says, what makes the worker stale, what is drafted next."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.policies import registry
from testbed.policies.api import (
    Command,
    DraftTree,
    Finish,
    LinkSample,
    MessageReceived,
    Role,
    RoleContext,
    Send,
    TreeDraftReady,
    VerifyReady,
    VerifyTree,
)
from testbed.policies.wanspec.candidates import CandidateTree, Heard
from testbed.policies.wanspec.tree import Tree
from testbed.wire.messages import Branches, Close, Open, Request, Tokens, Validation

PROMPT = (1, 2, 3)
RTT_MS = 20.0
CERTAIN, UNSURE = 0.1, 0.9


def branches(first: int, parents: tuple[int, ...], tokens: tuple[int, ...], position: int = 3) -> Branches:
    return Branches(0, first, position, parents, tokens, (0.5,) * len(tokens))


# --- the tree -------------------------------------------------------------------------------------------------------


def test_advancing_keeps_the_branch_that_was_validated() -> None:
    tree = Tree(PROMPT)
    left, _ = tree.add(tree.root, 4, 0.6)
    right, _ = tree.add(tree.root, 5, 0.3)
    below, _ = tree.add(right, 6, 0.9)
    assert tree.advance((5,)) == [right]
    assert tree.root is right and tree.holds(below) and not tree.holds(left)
    assert tree.depth(9) == 1 and tree.leaves() == [below]


def test_advancing_off_the_tree_leaves_its_last_token_alone() -> None:
    tree = Tree(PROMPT)
    left, _ = tree.add(tree.root, 4, 0.6)
    assert tree.advance((4, 9)) == [left]
    assert (tree.root.token, tree.root.position) == (9, 4)
    assert tree.leaves() == [tree.root] and not tree.holds(left)


def test_only_paths_that_reach_the_depth_are_verified() -> None:
    tree = Tree(PROMPT)
    left, _ = tree.add(tree.root, 4, 0.6)
    tree.add(tree.root, 5, 0.3)
    deep, _ = tree.add(left, 6, 0.9)
    tree.add(deep, 7, 0.9)
    assert [node.token for node in tree.paths(2)] == [4, 6]
    assert tree.paths(0) == []


# --- the controller's tree ------------------------------------------------------------------------------------------


def test_a_gap_in_the_stream_makes_the_run_invalid() -> None:
    with pytest.raises(RunInvalid, match="gap before node 1, expected 0"):
        CandidateTree(PROMPT).add_remote(branches(1, (-1,), (4,)), PROMPT)


def test_a_text_that_nobody_validated_makes_the_run_invalid() -> None:
    with pytest.raises(RunInvalid, match="not validated yet"):
        CandidateTree(PROMPT).add_remote(branches(0, (-1,), (4,), position=4), PROMPT)


def test_nodes_below_a_cut_branch_are_dropped() -> None:
    one = CandidateTree(PROMPT)
    one.add_remote(branches(0, (-1, -1), (4, 5)), PROMPT)
    validated = (*PROMPT, 5)
    one.advance((5,))
    assert one.add_remote(branches(2, (0, 1), (6, 7)), validated) == Heard(
        None, level=4
    )  # below 4, which was cut, none counts
    assert [node.token for node in one.tree.leaves()] == [7]
    assert one.add_remote(branches(4, (2,), (8,)), validated) == Heard(None, None)  # nor below what was dropped
    assert one.tree.depth(9) == 1


def test_nodes_that_lag_behind_are_followed_to_where_they_lead() -> None:
    """The controller validated 4 5 by its own drafts; the worker's stream comes to them later."""
    one, validated = CandidateTree(PROMPT), (*PROMPT, 4, 5)
    one.advance((4, 5))
    assert one.add_remote(branches(0, (-1, -1), (4, 9)), validated) == Heard(None, level=3)
    assert one.add_remote(branches(2, (0,), (5,)), validated) == Heard(None, level=4)
    assert one.add_remote(branches(3, (2, 1), (6, 8)), validated) == Heard(None, level=5)
    assert [node.token for node in one.tree.leaves()] == [6]


@pytest.mark.parametrize(("tokens", "missed"), [((4, 9), None), ((9, 4), None), ((8, 9), 3)])
def test_the_worker_missed_a_token_only_if_none_of_its_choices_is_it(
    tokens: tuple[int, int], missed: int | None
) -> None:
    one = CandidateTree(PROMPT)
    one.advance((4,))
    assert one.add_remote(branches(0, (-1, -1), tokens), (*PROMPT, 4)).missed == missed


def test_a_verdict_that_none_of_the_worker_s_choices_holds_contradicts_it() -> None:
    def streamed() -> CandidateTree:
        one = CandidateTree(PROMPT)
        one.add_remote(branches(0, (-1, -1), (4, 5)), PROMPT)
        return one

    assert not streamed().advance((5,))[1]
    assert not streamed().advance((5, 9))[1]  # what follows 5 the worker has not said yet
    assert streamed().advance((9,))[1]
    local = streamed()
    local.add_local(local.tree.root, (9,), (0.9,))  # drafted here, but not by the worker
    assert local.advance((9,))[1]


def test_a_token_drafted_at_both_sites_is_one_node() -> None:
    one = CandidateTree(PROMPT)
    one.add_local(one.tree.root, (4,), (0.9,))
    one.add_remote(branches(0, (-1, -1), (4, 5)), PROMPT)
    one.add_remote(branches(2, (0,), (6,)), PROMPT)
    nodes = one.tree.paths(2)
    assert [node.token for node in nodes] == [4, 6]
    assert one.remote_levels(nodes) == 1


# --- the controller -------------------------------------------------------------------------------------------------


def controller(**params: Any) -> Role:
    spec = registry.get("wanspec")
    peers = {"user": ("user0",), "target": ("target0",), "drafter": ("drafter0",)}
    role = spec.roles["target"](spec.parse({"branches": 2, **params}), RoleContext("target0", peers))
    role.handle(LinkSample("drafter0", RTT_MS), 0.0)
    return role


def opened(role: Role, max_tokens: int = 20) -> list[Command]:
    return role.handle(MessageReceived("user0", Request(0, PROMPT, max_tokens, Sampling())), 0.0)


def hears(role: Role, message: Branches, now: float) -> list[Command]:
    return role.handle(MessageReceived("drafter0", message), now)


def kinds(commands: list[Command]) -> list[type]:
    return [type(command.message) if isinstance(command, Send) else type(command) for command in commands]


def verifying(**params: Any) -> tuple[Role, VerifyTree]:
    """Bootstrapped: the worker's two levels are verified from 102 ms on, round trip over."""
    role = controller(**params)
    opened(role)
    role.handle(TreeDraftReady(0, 0, ((4,),), ((0.9,),), (0.1,), 7.5), 100.0)
    (verify,) = hears(role, branches(0, (-1, -1), (4, 5)), 101.0) + hears(role, branches(2, (0, 1), (6, 7)), 102.0)
    assert isinstance(verify, VerifyTree)
    return role, verify


def test_a_verification_holds_every_path_of_k_drafts() -> None:
    _, verify = verifying()
    assert (verify.nodes, verify.parents) == ((4, 5, 6, 7), (-1, -1, 0, 1))
    assert (verify.drafts, verify.remote_drafts) == (2, 2)
    assert (verify.position, verify.tokens, verify.fresh) == (0, PROMPT, 3 + 4)


def test_what_was_accepted_is_not_charged_again() -> None:
    role, verify = verifying()
    commands = role.handle(VerifyReady(verify.job, 0, 2, (5, 7, 8), (0.1, 0.1, CERTAIN), 23.0), 125.0)
    assert kinds(commands) == [Tokens, Validation]
    hears(role, branches(4, (3,), (8,)), 126.0)
    (again,) = hears(role, branches(5, (4,), (9,)), 127.0) + hears(role, branches(6, (5,), (10,)), 128.0)
    assert isinstance(again, VerifyTree)
    assert (again.position, again.tokens) == (3, (5, 7, 8))  # fed again, because only text stays in the cache
    assert again.fresh == 1 + 2  # the bonus token and two drafts


def test_local_drafting_extends_the_most_probable_leaf_alone() -> None:
    role = controller(phi=None)
    (_, draft) = opened(role)
    assert isinstance(draft, DraftTree) and (draft.leaves, draft.width) == ((-1,), 1)
    hears(role, Branches(0, 0, 3, (-1, -1), (4, 5), (0.2, 0.7)), 1.0)
    (more,) = role.handle(TreeDraftReady(draft.job, 0, ((4,),), ((0.2,),), (0.1,), 7.5), 7.5)
    assert isinstance(more, DraftTree)
    assert (more.nodes, more.leaves, more.fresh) == ((5,), (0,), 1)


def test_local_passes_branch_only_when_asked_to() -> None:
    role = controller(phi=None, local_branches=True, theta=0.5, rtt_ms=1e9)
    (_, draft) = opened(role)
    assert isinstance(draft, DraftTree) and draft.width == 2
    (more,) = role.handle(TreeDraftReady(draft.job, 0, ((4, 5),), ((0.6, 0.3),), (0.8,), 7.5), 7.5)
    assert isinstance(more, DraftTree)
    (verify,) = role.handle(TreeDraftReady(more.job, 0, ((6, 7),), ((0.9, 0.1),), (0.2,), 7.5), 15.0)
    assert isinstance(verify, VerifyTree) and verify.nodes == (4, 6)  # 5 is not a path of two; 7 was below theta


def test_a_catch_up_cap_spares_the_prompt() -> None:
    role, verify = verifying(catch_up=2, phi=None)
    (*_, draft) = role.handle(VerifyReady(verify.job, 0, 1, (4, 9), (0.1, 0.1), 23.0), 125.0)
    assert isinstance(draft, DraftTree)
    assert draft.most == 2 and draft.fresh == 2  # 4 came from the worker, 9 from the target
    (_, first) = opened(controller(catch_up=2))
    assert isinstance(first, DraftTree) and first.most == 0


@pytest.mark.parametrize(("tokens", "drafts_here"), [((8, 9), False), ((9, 8), False), ((9, 10), True)])
def test_local_drafting_starts_when_none_of_the_worker_s_choices_is_the_bonus(
    tokens: tuple[int, int], drafts_here: bool
) -> None:
    role, verify = verifying()
    role.handle(VerifyReady(verify.job, 0, 2, (5, 7, 8), (0.1, 0.1, CERTAIN), 23.0), 125.0)
    assert kinds(hears(role, branches(4, (3, 3), tokens), 130.0)) == ([DraftTree] if drafts_here else [])


def test_without_the_transition_a_contradiction_is_waited_out() -> None:
    role, verify = verifying(contradiction=False)
    role.handle(VerifyReady(verify.job, 0, 2, (5, 7, 8), (0.1, 0.1, CERTAIN), 23.0), 125.0)
    assert hears(role, branches(4, (3, 3), (9, 10)), 130.0) == []


@pytest.mark.parametrize(
    ("accepted", "tokens", "entropy", "phi", "drafts_here"),
    [
        (2, (5, 7, 8), CERTAIN, 0.5, False),
        (2, (5, 7, 8), UNSURE, 0.5, True),
        (2, (5, 7, 8), CERTAIN, None, True),
        (1, (5, 9), CERTAIN, 0.5, True),  # a correction is a sure mismatch
    ],
)
def test_stale_is_a_correction_or_an_unsure_bonus(
    accepted: int, tokens: tuple[int, ...], entropy: float, phi: float | None, drafts_here: bool
) -> None:
    role, verify = verifying(phi=phi)
    commands = role.handle(VerifyReady(verify.job, 0, accepted, tokens, (*(0.1,) * accepted, entropy), 23.0), 125.0)
    assert kinds(commands) == [Tokens, Validation, *([DraftTree] if drafts_here else [])]


def test_the_last_delivery_closes_the_worker() -> None:
    role = controller()
    (_, verify) = opened(role, max_tokens=1)
    assert isinstance(verify, VerifyTree) and (verify.nodes, verify.drafts) == ((), 0)
    commands = role.handle(VerifyReady(verify.job, 0, 0, (4,), (0.1,), 23.0), 23.0)
    assert commands[0] == Send("user0", Tokens(0, 3, (4,), True))
    assert commands[-1] == Send("drafter0", Close(0))
    assert hears(role, branches(0, (-1,), (4,)), 30.0) == []  # late, not wrong


# --- the worker -----------------------------------------------------------------------------------------------------


class Drafting:
    """A worker and its device: `drafts` finishes the running pass with the same choices at every leaf."""

    def __init__(self, max_tokens: int = 20, **params: Any) -> None:
        spec = registry.get("wanspec")
        self.role: Role = spec.roles["drafter"](
            spec.parse({"branches": 2, "theta": None, **params}), RoleContext("drafter0", {})
        )
        self.running: DraftTree | None = None
        self.hears(Open(0, PROMPT, max_tokens, Sampling()))

    def hears(self, message: Open | Validation | Close) -> None:
        self._take(self.role.handle(MessageReceived("target0", message), 0.0))

    def drafts(self, *choices: tuple[int, int], entropy: float = 1.0, top: float = 0.6) -> list[Branches]:
        job = self.running
        assert job is not None, "the worker waits"
        self.running = None
        leaves = len(job.leaves)
        tokens = choices if len(choices) == leaves else choices * leaves
        ready = TreeDraftReady(job.job, 0, tokens, ((top, 1 - top),) * leaves, (entropy,) * leaves, 7.5)
        sent = self._take(self.role.handle(ready, 0.0))
        return [each.message for each in sent if isinstance(each.message, Branches)]

    def _take(self, commands: list[Command]) -> list[Send]:
        for command in commands:
            if isinstance(command, DraftTree):
                assert self.running is None
                self.running = command
        return [command for command in commands if isinstance(command, Send)]


def test_every_node_of_a_pass_is_streamed_at_once_with_its_parent() -> None:
    worker = Drafting()
    assert worker.drafts((4, 5)) == [Branches(0, 0, 3, (-1, -1), (4, 5), (0.6, 0.4))]
    assert worker.running is not None and worker.running.leaves == (0, 1)  # both leaves in one pass
    assert worker.drafts((6, 7)) == [Branches(0, 2, 3, (0, 0, 1, 1), (6, 7, 6, 7), (0.6, 0.4) * 2)]


def test_a_sure_position_gets_one_child() -> None:
    worker = Drafting(theta=0.5)
    assert worker.drafts((4, 5), entropy=0.4)[0].tokens == (4,)
    assert worker.drafts((6, 7), entropy=0.5)[0].tokens == (6, 7)  # at theta there are two


def test_the_most_probable_leaves_are_drafted_from_first() -> None:
    worker = Drafting(leaves=1)
    worker.drafts((4, 5))
    assert worker.running is not None and worker.running.nodes == (4,)
    worker.drafts((6, 7), top=0.5)
    assert worker.running is not None and worker.running.nodes == (5,)  # 0.4 beats 0.6 * 0.5
    assert (worker.running.fresh, worker.running.tokens) == (1, (3,))


def test_a_validation_keeps_the_branch_it_agrees_with() -> None:
    worker = Drafting()
    worker.drafts((4, 5))
    worker.drafts((6, 7))
    worker.hears(Validation(0, 3, (5, 7)))
    (message,) = worker.drafts((8, 9))  # the pass drafted from all four leaves, one is left, and it is the text's end
    assert message == Branches(0, 6, 5, (-1, -1), (8, 9), (0.6, 0.4))


@pytest.mark.parametrize("validated", [(9,), (4, 6, 8)], ids=["contradicted", "outrun"])
def test_a_validation_off_the_tree_starts_a_new_one_after_it(validated: tuple[int, ...]) -> None:
    worker = Drafting()
    worker.drafts((4, 5))
    worker.drafts((6, 7))
    worker.hears(Validation(0, 3, validated))
    assert worker.drafts((1, 2)) == []  # all that the running pass drafted from was cut
    assert worker.running is not None and worker.running.tokens[-1] == validated[-1] and not worker.running.nodes
    assert worker.drafts((7, 8))[0] == Branches(0, 6, 3 + len(validated), (-1, -1), (7, 8), (0.6, 0.4))


def test_it_waits_at_the_lookahead_bound_for_a_validation() -> None:
    worker = Drafting(max_lookahead=2, leaves=64)
    worker.drafts((4, 5))
    worker.drafts((6, 7))
    assert worker.running is None
    worker.hears(Validation(0, 3, (4,)))
    assert worker.running is not None and worker.running.nodes == (6, 7)


def test_a_full_tree_that_is_deep_enough_waits() -> None:
    worker = Drafting(max_nodes=4, k=2)
    worker.drafts((4, 5))
    assert worker.running is not None
    worker.drafts((6, 7))
    assert worker.running is None
    worker.hears(Validation(0, 3, (4,)))
    assert worker.running is not None


def test_a_full_tree_that_is_not_deep_enough_grows_on() -> None:
    """Else the controller would wait for k drafts that never come."""
    worker = Drafting(max_nodes=1, k=3)
    worker.drafts((4, 5))
    worker.drafts((6, 7))
    assert worker.running is not None


def test_it_never_drafts_the_last_token_of_an_output() -> None:
    worker = Drafting(max_tokens=2)
    worker.drafts((4, 5))
    assert worker.running is None


def test_close_frees_the_caches_and_the_running_pass_is_forgotten() -> None:
    worker = Drafting()
    assert worker.role.handle(MessageReceived("target0", Close(0)), 0.0) == [Finish(0)]
    assert worker.drafts((4, 5)) == []
    assert worker.running is None


def test_a_validation_out_of_order_makes_the_run_invalid() -> None:
    with pytest.raises(RunInvalid, match="arrived out of order"):
        Drafting().hears(Validation(0, 5, (4,)))
