"""Other tenants stand in a device's queue like ours: first come, first served, one pass at a time."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile
from testbed.models.timing import Feed
from testbed.nodes.capacity import limits_of
from testbed.nodes.tenants import ALONE, Tenants
from testbed.workload.background import Background, Tenant

MS = 1_000_000


def profile(**changes: Any) -> DeviceProfile:
    given = {
        "name": "p", "device": "d", "model": "m", "kind": "synthetic", "source": "a test",
        "pass_ms": [[1, 10.0], [512, 10.0]], "max_pass_tokens": 512,
    }  # fmt: skip
    return DeviceProfile.model_validate({**given, **changes})


def asking(*requests: tuple[float, int, int], **changes: Any) -> Background:
    """Requests at these seconds; nothing more for a day."""
    tenant = Tenant("s", 0.0, 1.0, 1.0, 1.0, trace=(*requests, (86_400.0, 1, 1)))
    return Background(**{"model": "target", "tenants": (tenant,), "max_batch": 256, "kv_share": 0.5, **changes})


def test_alone_a_job_starts_when_it_comes_or_when_the_device_is_free() -> None:
    assert ALONE.start(5, 3) == 5 and ALONE.start(3, 5) == 5
    idle = Tenants(asking((100.0, 10, 10)), profile(), 0)
    assert idle.start(5 * MS, 3 * MS) == 5 * MS and idle.passes == 0


def test_a_pass_that_came_before_is_waited_for_and_the_next_is_behind_ours() -> None:
    shared = Tenants(asking((0.0, 100, 3)), profile(), 0)
    assert shared.start(1 * MS, 0) == 10 * MS, "its prompt came before"
    # ours takes 5 ms; its second pass stood in line from 10 ms on, before our second job came
    assert shared.start(15 * MS, 15 * MS) == 25 * MS
    # our next job comes at 24 ms, while that pass runs: the third one is behind it
    again = Tenants(asking((0.0, 100, 3)), profile(), 0)
    assert again.start(1 * MS, 0) == 10 * MS
    assert again.start(9 * MS, 15 * MS) == 15 * MS, "it came before their second pass, which waits"
    assert shared.start(1000 * MS, 30 * MS) == 1000 * MS and shared.passes == 3 and shared.busy_ns == 30 * MS


def test_requests_share_passes_and_prompts_fill_the_budget() -> None:
    shared = Tenants(asking((0.0, 1000, 2), (0.0, 100, 5), (0.0, 10, 1)), profile(), 0)
    shared.start(10_000 * MS, 0)
    # 512 and 488 of the first; 24 and 76 of the second, with the first's second token; and the third in the same
    assert shared.passes == 7
    assert not shared._ends and not shared._prompts and not shared._waiting
    assert shared._cached == shared._held == 0, "all they held is free again"


def test_time_of_a_pass_is_that_of_the_same_pass_by_feeds() -> None:
    """The sums kept here against the device profile's own arithmetic."""
    real = load_profile("a100-80gb/qwen3-32b")
    assert not real.by_tokens_alone
    one = Tenants(asking((0.0, 300, 3), (0.0, 200, 2)), real, 0)
    one.start(10_000 * MS, 0)
    expected = [
        real.batch_ms([Feed(300, 0), Feed(200, 0)]),
        real.batch_ms([Feed(1, 300), Feed(1, 200)]),
        real.batch_ms([Feed(1, 301)]),
    ]
    assert one.passes == 3 and one.busy_ns == sum(round(ms * MS) for ms in expected)


def test_memory_and_batch_bound_what_runs() -> None:
    small = profile(kv_capacity_tokens=1000)
    two = Tenants(asking((0.0, 100, 100), (0.0, 100, 100), (0.0, 100, 100)), small, 0)
    two.start(1 * MS, 0)
    assert (two._held, len(two._waiting)) == (400, 1), "500 of 1000 tokens are theirs"
    one = Tenants(asking((0.0, 100, 9), (0.0, 100, 9), max_batch=1), small, 0)
    one.start(1 * MS, 0)
    assert len(one._waiting) == 1
    assert limits_of(small, asking((0.0, 1, 1))).kv_capacity_tokens == 500
    assert limits_of(small, asking((0.0, 1, 1), model="draft")).kv_capacity_tokens == 1000
    assert limits_of(small).kv_capacity_tokens == 1000
    huge = Tenants(asking((0.0, 5000, 2), (0.0, 10, 1)), small, 0)
    huge.start(10_000 * MS, 0)
    assert not huge._waiting and huge._held == 0, (
        "what is too large alone gets all there is, and nothing blocks for ever"
    )


def test_more_than_the_device_can_do_is_queued_without_end() -> None:
    always = Tenant("s", 0.0, 1.0, 1.0, 1.0, trace=((0.0, 400, 50), (0.01, 400, 50)))
    busy = Tenants(Background("target", (always,), 8, 0.5),
                   profile(), 0)  # fmt: skip
    free_ns, waits = 0, []
    for number in range(200):
        began_ns = busy.start(number * 50 * MS, free_ns)
        waits.append(began_ns - number * 50 * MS)
        free_ns = began_ns + 5 * MS
    assert max(waits) <= 10 * MS, "ours wait for one pass, however many requests of theirs do"
    assert busy.busy_ns > 0.8 * free_ns


def test_tenants_need_pass_times() -> None:
    with pytest.raises(BadInput, match="native device has no pass times"):
        Tenants(asking((0.0, 1, 1)), load_profile("native"), 0)


def test_a_sample_says_what_they_did_since_the_last_one_and_changes_nothing() -> None:
    """A node may look as often as it likes: our jobs start when they would have."""
    asked = asking((0.0, 400, 40), (0.05, 300, 30), (0.3, 200, 20))
    looked, unseen = Tenants(asked, profile(), 0), Tenants(asked, profile(), 0)
    free_ns = 0
    for number, at_ms in enumerate(range(0, 1000, 13)):
        sample = looked.sample(at_ms * MS, free_ns)
        assert sample is None or 0.0 <= sample.share <= 1.0
        if number % 3 == 0:
            start_ns = looked.start(at_ms * MS, free_ns)
            assert start_ns == unseen.start(at_ms * MS, free_ns)
            free_ns = start_ns + 4 * MS
    assert ALONE.sample(5 * MS, 0) is None
    steady = Tenants(asking((0.0, 100, 50)), profile(), 0)
    first, then = steady.sample(300 * MS, 0), steady.sample(600 * MS, 0)
    assert first is not None and (first.share, first.pass_ms) == (1.0, 10.0)
    assert then is not None and then.share == pytest.approx(200 / 300) and then.pass_ms == 10.0
    idle = steady.sample(900 * MS, 0)
    assert idle is not None and (idle.share, idle.pass_ms) == (0.0, 0.0)
