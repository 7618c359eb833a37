"""What a node's models keep of requests that ended: whole blocks of their texts, until others need the memory.

As serving engines do it (vLLM's automatic prefix caching): a block is known by its tokens and by the block before it,
so what two texts begin with alike is kept once; blocks that no open request uses go least recently used first, the last
ones of a text before those that they follow.

Rule kept: what is kept never takes memory from open requests, and what is said to be kept the device has. So every job
that feeds a text and every end of a request passes through `Keeping`, which tells the device what to keep, what
to begin with and what to give up; a policy's part is to ask how long a text's kept prefix is (`RoleContext.prefixes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from testbed.policies.api import (
    Command,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    Event,
    Evict,
    Finish,
    MessageReceived,
    RequestArrived,
    Role,
    Verify,
    VerifyBatch,
    VerifyTree,
)
from testbed.wire.messages import Open, Request

OneJob = Draft | DraftTree | Verify | VerifyTree  # of one request


class _Block:
    """Some tokens after the block before them. `holder`: the request whose cache at the device has it."""

    __slots__ = ("holder", "key", "number", "users")

    def __init__(self, number: int, key: tuple[int, tuple[int, ...]], holder: int) -> None:
        self.number = number
        self.key = key
        self.holder = holder
        self.users = 0


class _Text:
    """What the device caches of an open request, and the kept blocks that this begins with."""

    __slots__ = ("blocks", "cached")

    def __init__(self) -> None:
        self.cached: list[int] = []
        self.blocks: list[_Block] = []


class PrefixCache:
    """Of one model at one node. `most`: tokens that its device has room for, those of open requests included."""

    def __init__(self, block: int, most: int) -> None:
        self._size = block
        self._most = most
        self._known: dict[tuple[int, tuple[int, ...]], _Block] = {}
        self._unused: dict[int, _Block] = {}  # by number, least recently used first
        self._open: dict[int, _Text] = {}
        self._held: dict[int, int] = {}  # blocks that the device has in the cache of this request
        self._blocks = 0  # so far
        self._tokens = 0  # that open requests cache

    def longest(self, text: Sequence[int]) -> int:
        """How many leading tokens of a text are kept."""
        return self._size * len(self._path(text))

    def holds(self, request: int) -> bool:
        return request in self._held

    def begin(self, request: int, whole: Sequence[int], position: int) -> int | None:
        """A request is to begin with so many tokens of its text; in whose cache they are, None: in its own."""
        text = self._open.setdefault(request, _Text())
        prefix = list(whole[:position])
        if text.cached[:position] == prefix:
            return None
        self._let_go(text)
        self._tokens += position - len(text.cached)
        text.cached = prefix
        text.blocks = self._path(whole)[: -(-position // self._size)]
        for block in text.blocks:
            self._use(block)
        holder = text.blocks[-1].holder
        return None if holder == request else holder

    def fed(self, request: int, position: int, tokens: Sequence[int]) -> None:
        """The device crops a request's cache there and feeds these."""
        text = self._open.setdefault(request, _Text())
        self._tokens += position + len(tokens) - len(text.cached)
        text.cached[position:] = tokens
        while len(text.blocks) * self._size > position:  # the cache holds other tokens there now
            self._give_up(text.blocks.pop(), request)

    def settled(self, request: int, length: int) -> None:
        """The first tokens that an open request caches will stay: others may begin with them from now on."""
        text = self._open.get(request)
        if text is None:
            return
        end = min(length, len(text.cached)) // self._size
        for index in range(len(text.blocks), end):
            before = text.blocks[-1].number if text.blocks else -1
            key = before, tuple(text.cached[index * self._size : (index + 1) * self._size])
            block = self._known.get(key)
            if block is None:
                block = self._known[key] = _Block(self._blocks, key, request)
                self._blocks += 1
                self._held[request] = self._held.get(request, 0) + 1
            self._use(block)
            text.blocks.append(block)

    def ended(self, request: int) -> None:
        """It uses nothing any more; whole blocks of what it cached stay."""
        self.settled(request, len(self._open[request].cached) if request in self._open else 0)
        if (text := self._open.pop(request, None)) is not None:
            self._tokens -= len(text.cached)
            self._let_go(text)

    def is_open(self, request: int) -> bool:
        return request in self._open

    def make_room(self) -> list[int]:
        """Evicts blocks until the rest fits; returns ended requests whose caches hold no kept block any more."""
        room = self._most - self._tokens
        gone = []
        while self._unused and len(self._unused) * self._size > room:
            block = self._unused.pop(next(iter(self._unused)))
            if self._forget(block):
                gone.append(block.holder)
        return gone

    def _path(self, text: Sequence[int]) -> list[_Block]:
        """The kept blocks that a text begins with."""
        found: list[_Block] = []
        number = -1
        for at in range(0, len(text) - self._size + 1, self._size):
            block = self._known.get((number, tuple(text[at : at + self._size])))
            if block is None:
                break
            found.append(block)
            number = block.number
        return found

    def _use(self, block: _Block) -> None:
        if block.users == 0:
            self._unused.pop(block.number, None)
        block.users += 1

    def _let_go(self, text: _Text) -> None:
        """Its last blocks go first, once there is no room."""
        for block in reversed(text.blocks):
            block.users -= 1
            if block.users == 0:
                self._unused[block.number] = block
        text.blocks = []

    def _give_up(self, block: _Block, request: int) -> None:
        """A request's own cache no longer has it; where it was held for others, they lose it."""
        block.users -= 1
        if block.holder == request and block.key in self._known:
            self._unused.pop(block.number, None)
            self._forget(block)
        elif block.users == 0 and block.key in self._known:
            self._unused[block.number] = block

    def _forget(self, block: _Block) -> bool:
        """Whether it was the last one of its holder, which has ended."""
        del self._known[block.key]
        self._held[block.holder] -= 1
        if self._held[block.holder]:
            return False
        del self._held[block.holder]
        return block.holder not in self._open


class Keeping:
    """Stands before a role whose node runs models. `caches`: by model, "target" and "draft"."""

    def __init__(self, role: Role, caches: Mapping[str, PrefixCache]) -> None:
        self._role = role
        self._caches = caches
        self._texts: dict[int, tuple[int, ...]] = {}  # prompts of requests that are open here
        self._new: dict[str, set[int]] = {model: set() for model in caches}  # that have not had a job since they opened
        self._drafting: dict[int, Draft] = {}

    def handle(self, event: Event, now: float) -> list[Command]:
        self._hear(event)
        commands: list[Command] = []
        for command in self._role.handle(event, now):
            kind = type(command)
            if kind is VerifyBatch or kind is DraftBatch:
                members = tuple(self._begun(one) for one in command.members)  # type: ignore[union-attr]
                for one in members:
                    self._settled(one)
                commands.append(replace(command, members=members))  # type: ignore[type-var]
            elif kind is Verify or kind is Draft or kind is VerifyTree or kind is DraftTree:
                job = self._begun(command)  # type: ignore[arg-type]
                self._settled(job)
                commands.append(job)
            elif kind is Finish:
                commands.append(self._ended(command.request))  # type: ignore[union-attr]
            else:
                commands.append(command)
        for cache in self._caches.values():
            for request in cache.make_room():
                if not self._needed(request):
                    commands.append(Evict(request))
        return commands

    def _hear(self, event: Event) -> None:
        kind = type(event)
        if kind is MessageReceived:
            message = event.message  # type: ignore[union-attr]
            if type(message) is Request or type(message) is Open:
                self._opened(message.request, message.prompt)
        elif kind is RequestArrived:
            self._opened(event.request, event.prompt)  # type: ignore[union-attr]
        elif isinstance(event, DraftReady):
            self._drafted(event)
        elif isinstance(event, DraftBatchReady):
            for one in event.members:
                if isinstance(one, DraftReady):
                    self._drafted(one)

    def _drafted(self, event: DraftReady) -> None:
        job = self._drafting.pop(event.request, None)
        if job is not None and len(event.tokens) > 1:  # all drafted tokens but the last were fed as well
            self._caches["draft"].fed(event.request, job.position + len(job.tokens), event.tokens[:-1])

    def _opened(self, request: int, prompt: tuple[int, ...]) -> None:
        self._texts[request] = prompt
        for new in self._new.values():
            new.add(request)

    def _begun(self, job: OneJob) -> OneJob:
        """The job, with the request whose cache it begins with."""
        model = "draft" if type(job) is Draft or type(job) is DraftTree else "target"
        cache, request = self._caches[model], job.request
        if request in self._new[model]:
            self._new[model].discard(request)
            if job.position:
                holder = cache.begin(request, self._texts[request], job.position)
                if holder is not None:
                    job = replace(job, prefix_of=holder)
        cache.fed(request, job.position, job.tokens)
        if type(job) is Draft:
            self._drafting[request] = job
        return job

    def _settled(self, job: OneJob) -> None:
        """Prompts stay as they are; what follows them is settled when the request ends."""
        model = "draft" if type(job) is Draft or type(job) is DraftTree else "target"
        self._caches[model].settled(job.request, len(self._texts.get(job.request, ())))

    def _ended(self, request: int) -> Finish:
        self._texts.pop(request, None)
        self._drafting.pop(request, None)
        for model, cache in self._caches.items():
            self._new[model].discard(request)
            cache.ended(request)
        return Finish(request, kept=self._needed(request))

    def _needed(self, request: int) -> bool:
        """Whether the device has blocks in its cache, or it is open."""
        return any(cache.holds(request) or cache.is_open(request) for cache in self._caches.values())
