"""What nodes keep of requests that ended: the blocks, who may begin with them, and that no output changes by it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from testbed.policies import registry
from testbed.policies.api import Command, DeviceLimits, DraftTree, Evict, Verify, VerifyBatch, VerifyTree
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.prefixes import PrefixCache
from testbed.testing import HashModels, Job, Loop
from testbed.testing.cases import LIMITS

POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("autoregressive", {}),
    ("speculative", {"k": 3}),
    ("centralised", {"token_budget": 8}),
    ("wanspec", {"k": 2}),
    ("wanspec", {"k": 3, "branches": 2}),
    ("sled", {}),
    ("wisp", {"prefill_tokens": 8}),
]


def text(length: int, seed: int = 0) -> tuple[int, ...]:
    random = Random(seed)
    return tuple(random.randrange(12) for _ in range(length))


def end(cache: PrefixCache, request: int, whole: tuple[int, ...]) -> list[int]:
    """A request without a kept prefix comes, is fed, and goes; what is given up for it."""
    cache.fed(request, 0, whole)
    gone = cache.make_room()
    cache.ended(request)
    return gone + cache.make_room()


# --- blocks -------------------------------------------------------------------------------------------------------


def test_whole_blocks_of_a_text_that_ended_are_kept() -> None:
    cache = PrefixCache(4, 100)
    assert end(cache, 1, text(10)) == []
    assert cache.longest(text(20)) == 8
    assert cache.longest(text(7)) == 4
    assert cache.longest((99, *text(10))) == 0


def test_a_block_is_known_by_what_is_before_it() -> None:
    cache = PrefixCache(2, 100)
    end(cache, 1, (1, 2, 3, 4))
    assert cache.longest((3, 4)) == 0
    assert cache.longest((5, 6, 3, 4)) == 0


def test_what_two_texts_begin_with_alike_is_kept_once() -> None:
    cache = PrefixCache(4, 16)
    end(cache, 1, (*text(8), 1, 1, 1, 1))
    assert cache.begin(2, (*text(8), 2, 2, 2, 2), 8) == 1
    cache.fed(2, 8, (2, 2, 2, 2))
    cache.ended(2)
    assert cache.make_room() == []  # 12 tokens and 4
    assert cache.longest((*text(8), 1, 1, 1, 1)) == cache.longest((*text(8), 2, 2, 2, 2)) == 12


def test_least_recently_used_goes_first_and_the_end_of_a_text_before_its_beginning() -> None:
    cache = PrefixCache(4, 24)
    end(cache, 1, text(12, 1))
    end(cache, 2, text(12, 2))
    assert cache.longest(text(12, 1)) == 12
    assert end(cache, 3, text(4, 3)) == []
    assert (cache.longest(text(12, 1)), cache.longest(text(12, 2))) == (8, 12)
    assert cache.begin(4, text(12, 1), 8) == 1  # used again, so the other one is the oldest
    cache.ended(4)
    end(cache, 5, text(4, 5))
    assert (cache.longest(text(12, 1)), cache.longest(text(12, 2))) == (8, 8)


def test_a_request_is_given_up_with_its_last_block() -> None:
    cache = PrefixCache(4, 16)
    end(cache, 1, text(8, 1))
    assert end(cache, 2, text(16, 2)) == [1]
    assert not cache.holds(1)
    assert cache.holds(2)


def test_open_requests_lose_nothing_and_have_the_room_first() -> None:
    cache = PrefixCache(4, 16)
    end(cache, 1, text(8, 1))
    assert cache.begin(2, (*text(8, 1), 9), 8) == 1
    cache.fed(2, 8, text(40, 7))
    assert cache.make_room() == []  # more than there is room for, but all of it is in use
    assert cache.longest(text(8, 1)) == 8
    cache.ended(2)
    cache.make_room()
    assert cache.longest((*text(8, 1), *text(40, 7))) == 16


def test_a_text_may_begin_with_one_that_is_still_open() -> None:
    cache = PrefixCache(4, 100)
    cache.fed(1, 0, text(9))
    assert cache.longest(text(9)) == 0  # it may still be cropped
    cache.settled(1, 9)
    assert cache.longest(text(9)) == 8
    assert cache.begin(2, text(9), 8) == 1


def test_what_a_request_no_longer_caches_is_not_kept_for_others() -> None:
    cache = PrefixCache(2, 100)
    cache.fed(1, 0, (1, 2, 3, 4))
    cache.settled(1, 4)
    cache.fed(1, 3, (9,))
    assert cache.longest((1, 2, 3, 4)) == 2
    cache.ended(1)
    assert cache.longest((1, 2, 3, 9)) == 4


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_to_be_kept_is_in_its_holders_cache(seed: int) -> None:
    """Against a plain model: the cache of each request, token by token."""
    random = Random(seed)
    cache = PrefixCache(random.choice([1, 3, 4]), random.choice([0, 10, 30, 1000]))
    device: dict[int, tuple[int, ...]] = {}
    opened: dict[int, tuple[int, ...]] = {}
    for request in range(120):
        whole = (*text(random.randrange(1, 30), random.randrange(3)), *text(random.randrange(1, 6), request))
        position = min(cache.longest(whole), len(whole) - 1)
        own: tuple[int, ...] = ()
        if position:
            holder = cache.begin(request, whole, position)
            assert holder is not None
            assert device[holder][:position] == whole[:position]
            own = whole[:position]
        cache.fed(request, position, whole[position:])
        device[request] = opened[request] = (*own, *whole[position:])
        if random.random() < 0.5:
            cache.settled(request, len(whole))
        while opened and random.random() < 0.6:
            over = random.choice(list(opened))
            del opened[over]
            cache.ended(over)
            if not cache.holds(over):
                del device[over]
        for gone in cache.make_room():
            assert gone not in opened
            del device[gone]


# --- policies -----------------------------------------------------------------------------------------------------


class Watched(Loop):
    """Notes what devices are asked to begin with, how many tokens they are fed, and what they give up."""

    begun: list[int]
    fed: dict[str, int]
    evicted: int

    def _do(self, node: str, command: Command, now: float) -> None:
        members = command.members if isinstance(command, VerifyBatch) else (command,)
        for one in members:
            if isinstance(one, Verify | VerifyTree | DraftTree) or type(one).__name__ == "Draft":
                model = "target" if isinstance(one, Verify | VerifyTree) else "draft"
                self.fed[model] += len(one.tokens)  # type: ignore[union-attr]
                if one.prefix_of is not None:  # type: ignore[union-attr]
                    self.begun.append(one.position)  # type: ignore[union-attr]
        if isinstance(command, Evict):
            self.evicted += 1
        super()._do(node, command, now)


def conversations(seed: int, users: int = 2, turns: int = 4, apart_ms: float = 900.0) -> list[Job]:
    """Turns whose prompts go on from the last one's."""
    jobs = []
    for turn in range(turns):
        for user in range(users):
            whole = tuple(token for part in range(turn + 1) for token in text(9 + part, 100 * seed + 10 * user + part))
            number = turn * users + user
            jobs.append(Job(number, (user, *whole), 12, at_ms=apart_ms * turn + 40.0 * user))
    return jobs


def talk(name: str, params: dict[str, Any], seed: int, keeping: PrefixCaching | None, **more: Any) -> Watched:
    spec, models = registry.get(name), HashModels(seed)
    loop = Watched(spec, spec.parse(params), models, keeping=keeping, limits=LIMITS, **{"rtt_ms": 10.0, **more})
    loop.begun, loop.fed, loop.evicted = [], {"target": 0, "draft": 0}, 0
    jobs = conversations(seed)
    result = loop.run(jobs)
    for job in jobs:
        assert tuple(result.outputs[job.request]) == models.reference(job), (name, params, seed, job)
    assert set(result.finished_ms) == {job.request for job in jobs}
    return loop


@pytest.mark.parametrize(("name", "params"), POLICIES, ids=[f"{name}-{len(params)}" for name, params in POLICIES])
@pytest.mark.parametrize("seed", range(3))
def test_conversations_feed_less_and_say_the_same(name: str, params: dict[str, Any], seed: int) -> None:
    kept, fresh = talk(name, params, seed, PrefixCaching(block_tokens=4)), talk(name, params, seed, None)
    assert fresh.begun == []
    assert fresh.result.open_caches == 0
    assert len(kept.begun) >= 6  # three later turns of two users, and more where drafters keep texts too
    assert kept.fed["target"] < 0.8 * fresh.fed["target"]
    assert kept.fed["draft"] <= fresh.fed["draft"]
    assert kept.evicted == 0


@pytest.mark.parametrize(("name", "params"), POLICIES, ids=[f"{name}-{len(params)}" for name, params in POLICIES])
@pytest.mark.parametrize("room", [0, 30, 60, 120])
def test_conversations_say_the_same_however_little_room_there_is(name: str, params: dict[str, Any], room: int) -> None:
    loop = talk(name, params, 5, PrefixCaching(block_tokens=4, tokens=room), rtt_ms=40.0)
    if room == 0:
        assert loop.begun == []
        assert loop.result.open_caches == 0
    assert loop.result.open_caches <= 2 * len(loop.roles) * (room // 4)


@pytest.mark.parametrize("name", ["autoregressive", "speculative", "centralised", "wanspec"])
def test_turns_that_overlap_begin_with_what_is_open(name: str) -> None:
    spec, models = registry.get(name), HashModels(3)
    loop = Watched(spec, spec.parse({}), models, keeping=PrefixCaching(block_tokens=4), limits=LIMITS, rtt_ms=10.0)
    loop.begun, loop.fed, loop.evicted = [], {"target": 0, "draft": 0}, 0
    jobs = conversations(3, apart_ms=100.0)
    result = loop.run(jobs)
    assert all(tuple(result.outputs[job.request]) == models.reference(job) for job in jobs)
    assert loop.begun


def test_no_more_is_kept_than_the_device_has_room_for() -> None:
    assert PrefixCaching().cache(DeviceLimits(64))._most == 64
    assert PrefixCaching(tokens=32).cache(DeviceLimits(64))._most == 32
    assert PrefixCaching(tokens=128).cache(DeviceLimits(64))._most == 64
