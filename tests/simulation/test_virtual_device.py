"""The virtual device is the paced device of the emulation, and a fair queue: M/D/1 and M/M/1 say what it must show."""

import random
import statistics
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile
from testbed.nodes.pacing import DeviceClock
from testbed.nodes.virtualdevice import PassTimes, VirtualDevice
from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady
from testbed.simulation.kernel import Kernel

MS = 1_000_000


def profile(*knots, longest):
    return DeviceProfile(
        name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=knots, max_pass_tokens=longest
    )


TARGET = profile((1, 20.0), (8, 27.3), (64, 90.1), longest=64)
DRAFT = profile((1, 7.5), (16, 9.123), longest=16)


class Answers:
    """Models whose answers do not matter."""

    def draft(self, job, duration_ms):
        return DraftReady(job.job, job.request, (0,) * job.steps, (0.0,) * job.steps, (1.0,) * job.steps, duration_ms)

    def verify(self, job, duration_ms):
        return VerifyReady(job.job, job.request, 0, (0,), (0.0,), duration_ms)

    def release(self, request):
        pass


def submit_all(jobs, target=TARGET, draft=DRAFT, overhead_ns=0):
    """Submits (time, job) pairs; returns what came back, in order: (heard_ns, job, submitted_ns, ready, passes)."""
    kernel, heard = Kernel(), []
    answers: Any = Answers()
    device = VirtualDevice(kernel, answers, {"target": target, "draft": draft}, overhead_ns)
    for at_ns, job in jobs:
        kernel.at(at_ns, lambda one: device.submit(one, lambda done: heard.append((kernel.now_ns, *done))), job)
    kernel.run()
    return heard


def random_jobs(count, seed=1):
    draws, at_ns = random.Random(seed), 0
    jobs: list[Any] = []
    for number in range(count):
        at_ns += draws.choice((0, 1, 5 * MS, 40 * MS, 700 * MS))
        fed = (0,) * draws.choice((1, 2, 3, 16, 17, 64, 150))
        if draws.random() < 0.5:
            jobs.append((at_ns, Draft(number, 1, draws.randrange(9), fed, steps=draws.choice((1, 1, 4)))))
        else:
            jobs.append((at_ns, Verify(number, 1, draws.randrange(9), fed, drafts=0)))
    return jobs


def test_pass_times_equal_those_of_the_emulated_device():
    """The same jobs through `DeviceClock`, with real passes that take no time, give the same passes (invariant 2)."""
    jobs = random_jobs(300)
    clock, expected = DeviceClock(), []
    for at_ns, job in jobs:
        model = DRAFT if isinstance(job, Draft) else TARGET
        feeds = [len(job.tokens), *[1] * (job.steps - 1 if isinstance(job, Draft) else 0)]
        sizes = [size for feed in feeds for size in model.passes(feed)]
        timings = clock.pace(at_ns, [(at_ns, at_ns)] * len(sizes), [model.duration_ms(size) for size in sizes])
        expected.append([(t.started_ns, t.finished_ns, t.paced_ms, t.overrun_ms) for t in timings])
    heard = submit_all(jobs)
    assert [[(p.started_ns, p.finished_ns, p.paced_ms, p.overrun_ms) for p in one[4]] for one in heard] == expected
    assert [one[2] for one in heard] == [at_ns for at_ns, _ in jobs]


def test_passes_feed_every_token_once_at_growing_positions():
    ((_, _, _, _, passes),) = submit_all([(0, Draft(1, 1, 5, (0,) * 40, steps=3))])
    assert [(one.position, one.tokens) for one in passes] == [(5, 16), (21, 16), (37, 8), (45, 1), (46, 1)]


def test_a_role_hears_of_its_job_when_the_last_pass_is_done_plus_the_overhead():
    jobs = random_jobs(50, seed=2)
    for heard_ns, _, _, ready, passes in submit_all(jobs, overhead_ns=300_000):
        assert heard_ns == passes[-1].finished_ns + 300_000
        assert ready.duration_ms == (passes[-1].finished_ns - passes[0].started_ns) / 1e6


def test_a_device_without_a_profile_is_refused():
    with pytest.raises(BadInput, match="profile"):
        PassTimes(load_profile("native"))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.75])
def test_constant_service_waits_as_m_d_1_says(load):
    """Poisson arrivals at one device with constant passes: mean wait = load / (2 (1 - load)) services."""
    waits = _waits(load, lambda draws: (0,))
    assert statistics.mean(waits) == pytest.approx(load / (2 * (1 - load)), rel=0.1)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_exponential_service_waits_as_m_m_1_says(load):
    """Exponential passes, by a profile linear in tokens: mean wait = load / (1 - load) services."""
    resolution = 200  # tokens per mean service: an exponential law rounded to half a per cent of its mean
    waits = _waits(load, lambda draws: (0,) * max(1, round(draws.expovariate(1 / resolution))), resolution)
    assert statistics.mean(waits) == pytest.approx(load / (1 - load), rel=0.1)


def _waits(load, feed, mean_tokens=1, jobs=20_000):
    """The waits of Poisson arrivals in units of the mean service, which is `mean_tokens` tokens of 0.1 ms."""
    linear = profile((1, 0.1), (100_000, 10_000.0), longest=100_000)
    draws, at_ns, submitted = random.Random(f"{load}/{mean_tokens}"), 0.0, []
    service_ns = mean_tokens * 0.1 * MS
    for number in range(jobs):
        at_ns += draws.expovariate(load / service_ns)
        submitted.append((round(at_ns), Draft(number, 1, 0, feed(draws))))
    return [(passes[0].started_ns - at) / service_ns for _, _, at, _, passes in submit_all(submitted, draft=linear)]
