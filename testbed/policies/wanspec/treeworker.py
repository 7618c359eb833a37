"""WANSpec's worker with branches: grows a tree and streams every node at once (Algorithm 2).

A pass drafts from the `leaves` most probable leaves together, by joint draft probability, and gives each one child, or
up to `branches` where the drafter's entropy is at least theta. A validation cuts the tree to what agrees with it; one
that contradicts or outruns the tree leaves only its last token, and drafting goes on from there.

It stops only when no leaf may grow (look-ahead bound, the request's end), or when the tree is full and deep enough to
be verified; the controller can then go on, and its next validation makes room.
"""

from __future__ import annotations

from heapq import nlargest

from testbed.errors import RunInvalid
from testbed.policies.api import Command, DraftTree, Event, Finish, MessageReceived, RoleContext, Send, TreeDraftReady
from testbed.policies.device import Device
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.tree import UNNUMBERED, Node, Tree
from testbed.policies.wanspec.treedraft import TreeDraftModel
from testbed.wire.messages import Branches, Close, Open, Validation


class _Request:
    def __init__(self, opened: Open, controller: str) -> None:
        self.opened = opened
        self.controller = controller
        self.validated = list(opened.prompt)
        self.tree = Tree(self.validated)
        self.draft_model = TreeDraftModel()
        self.streamed = 0  # nodes so far
        # The last token is never worth drafting: a target pass emits one more token than it verifies.
        self.end = len(opened.prompt) + opened.max_tokens - 1

    def validate(self, validation: Validation) -> None:
        if validation.position != len(self.validated):
            raise RunInvalid(
                f"validation at position {validation.position}, expected {len(self.validated)}: delivery is not ordered"
            )
        self.validated += validation.tokens
        self.draft_model.advanced(self.tree.advance(validation.tokens))


class TreeWorker:
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        self._params = params
        self._device: Device[_Request] = Device()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Open() as opened):
                self._device.open(opened.request, _Request(opened, sender))
            case MessageReceived(_, Validation() as validation):
                state = self._device.get(validation.request)
                assert state is not None
                state.validate(validation)
            case MessageReceived(_, Close(request)):
                self._device.close(request)
                commands.append(Finish(request))
            case TreeDraftReady():
                commands += self._drafted(event)
        return commands + self._device.start(self._next)

    def _next(self, state: _Request, job: int) -> DraftTree | None:
        tree, params = state.tree, self._params
        last = min(tree.root.position + params.max_lookahead, state.end - 1)  # where the deepest node may be
        growing = [leaf for leaf in tree.leaves() if leaf.position < last]
        if not growing:
            return None
        wanted = min(params.k, last - tree.root.position)
        if tree.size() >= params.max_nodes and tree.depth(wanted) == wanted:
            return None
        leaves = nlargest(params.leaves, growing, key=_by_probability)
        return state.draft_model.draft(job, state.opened, state.validated, tree, leaves, params.branches)

    def _drafted(self, event: TreeDraftReady) -> list[Command]:
        state = self._device.finished(event)
        if state is None:
            return []
        first, position = state.streamed, len(state.validated)
        parents: list[int] = []
        tokens: list[int] = []
        probabilities: list[float] = []
        leaves = state.draft_model.drafted(event)
        for leaf, choices, chances, entropy in zip(
            leaves, event.tokens, event.probabilities, event.entropies, strict=True
        ):
            if not state.tree.holds(leaf):  # cut, or validated and passed, while the pass was running
                continue
            width = self._params.width(entropy)
            parent = UNNUMBERED if leaf is state.tree.root else leaf.number
            for token, chance in zip(choices[:width], chances[:width], strict=True):
                node, _ = state.tree.add(leaf, token, chance)
                node.number = state.streamed
                state.streamed += 1
                parents.append(parent)
                tokens.append(token)
                probabilities.append(chance)
        if not tokens:
            return []
        message = Branches(event.request, first, position, tuple(parents), tuple(tokens), tuple(probabilities))
        return [Send(state.controller, message)]


def _by_probability(node: Node) -> float:
    return node.logp
