"""WANSpec's worker: follows the text that the controller validates, grows a tree, streams every node at once (Alg. 2).

Requests share the device's passes (`testbed.policies.passqueue`). Each drafts from the `leaves` most probable leaves
together, by joint draft probability, and gives each one child, or up to `branches` where the drafter's entropy is at
least theta. With one branch that is one token per pass. A validation cuts the tree to what agrees with it; one that
contradicts or outruns the tree leaves only its last token, and drafting goes on from there. What a running pass drafted
from a leaf that was cut is dropped.

It stops only when no leaf may grow (look-ahead bound, the request's end), or when the tree is full and deep enough to
be verified; the controller can then go on, and its next validation makes room.
"""

from __future__ import annotations

from heapq import nlargest

from testbed.errors import RunInvalid
from testbed.policies.api import (
    Command,
    DeviceLimits,
    DraftBatchReady,
    DraftReady,
    Event,
    Finish,
    MessageReceived,
    RoleContext,
    Send,
    TreeDraftReady,
)
from testbed.policies.passqueue import PassQueue, Wish
from testbed.policies.session import Prefixes
from testbed.policies.wanspec.drafting import drafting
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.tree import UNNUMBERED, Tree, by_probability
from testbed.wire.messages import Branches, Close, Open, Validation


class _Request:
    """One request as its worker knows it."""

    def __init__(self, opened: Open, controller: str, branches: int, prefixes: Prefixes) -> None:
        self.opened = opened
        self.controller = controller
        self.validated = list(opened.prompt)
        # The last token is never worth drafting: a target pass emits one more token than it verifies.
        self.end = len(opened.prompt) + opened.max_tokens - 1
        self.tree = Tree(self.validated)
        self.drafting = drafting(branches, prefixes)
        self.streamed = 0  # nodes so far

    def validate(self, validation: Validation) -> None:
        """Takes the next tokens of the text. Raises RunInvalid if they are not the next ones."""
        if validation.position != len(self.validated):
            raise RunInvalid(
                f"validation at position {validation.position}, expected {len(self.validated)}: messages arrived out "
                "of order"
            )
        self.validated += validation.tokens
        self.drafting.advanced(self.tree.advance(validation.tokens))


class Worker:
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        self._params = params
        self._prefixes = context.prefixes
        self._queue: PassQueue[_Request] = PassQueue(params, DeviceLimits())  # memory of drafts is not counted

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        if type(event) is DraftReady or type(event) is TreeDraftReady or type(event) is DraftBatchReady:
            for drafted, answer in self._queue.finished(event):
                assert type(answer) is DraftReady or type(answer) is TreeDraftReady
                commands += self._drafted(drafted, answer)
        elif type(event) is MessageReceived:
            message = event.message
            if type(message) is Validation:
                if (state := self._opened_by(event.sender, message.request)) is not None:
                    state.validate(message)
            elif type(message) is Open:
                opened = _Request(message, event.sender, self._params.branches, self._prefixes)
                self._queue.open(message, opened)
            elif type(message) is Close and self._opened_by(event.sender, message.request) is not None:
                self._queue.close(message.request)
                commands = [Finish(message.request)]
        return commands + self._queue.start(self._next)

    def _opened_by(self, controller: str, request: int) -> _Request | None:
        """None for a request that has moved on to another controller, which opened it anew."""
        state = self._queue.get(request)
        return state if state is not None and state.controller == controller else None

    def _next(self, state: _Request) -> Wish | None:
        """The next draft pass of a request; None while it must wait."""
        tree, params = state.tree, self._params
        last = min(tree.root.position + params.max_lookahead, state.end - 1)  # where the deepest node may be
        leaves = [leaf for leaf in tree.leaves() if leaf.position < last]
        if not leaves:
            return None
        if tree.size >= params.max_nodes:
            wanted = min(params.k, last - tree.root.position)
            if tree.depth(wanted) == wanted:
                return None
        if len(leaves) > 1:
            leaves = nlargest(params.leaves, leaves, key=by_probability)
        return Wish(
            True, lambda job: state.drafting.draft(job, state.opened, state.validated, tree, leaves, params.branches)
        )

    def _drafted(self, state: _Request, event: DraftReady | TreeDraftReady) -> list[Command]:
        """Streams what a draft pass brought for a request that is still open."""
        tree, first, position = state.tree, state.streamed, len(state.validated)
        parents: list[int] = []
        tokens: list[int] = []
        probabilities: list[float] = []
        for leaf, choices, chances, entropy in state.drafting.drafted(event):
            if not tree.holds(leaf):  # cut, or validated and passed, while the pass was running
                continue
            width = min(self._params.width(entropy), len(choices)) if len(choices) > 1 else 1
            parent = UNNUMBERED if leaf is tree.root else leaf.number
            for choice in range(width):
                node, _ = tree.add(leaf, choices[choice], chances[choice])
                node.number = state.streamed
                state.streamed += 1
                parents.append(parent)
                tokens.append(node.token)
                probabilities.append(chances[choice])
        if not tokens:
            return []
        named = () if parents == [first - 1] else tuple(parents)
        message = Branches(event.request, first, position, named, tuple(tokens), tuple(probabilities))
        return [Send(state.controller, message)]
