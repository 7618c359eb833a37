"""`make bench`, everything but the network: wire, model worker, decoding loops, virtual time."""

from __future__ import annotations

import asyncio
import statistics
import time

from testbed.bench.measurement import Measurement, repeat
from testbed.bench.simulation import emitted_tokens_per_second, kernel_events_per_second
from testbed.clock.api import WALL
from testbed.clock.waiting import Barriers
from testbed.models.check import check_pair
from testbed.models.devices import load_profile
from testbed.nodes.jobs import Answer, WorkerConfig
from testbed.nodes.workerclient import WorkerClient
from testbed.policies.api import Draft
from testbed.wire.framing import Frames, decode, encode
from testbed.wire.greeting import keys_of, new_secret
from testbed.wire.messages import Branches, Close, Envelope
from testbed.wire.tcp import TcpEndpoint
from testbed.wire.transport import Arrival
from testbed.workload.prompts import load_prompts


def wire_codec() -> float:
    """Microseconds to encode and decode one speculation message."""
    envelope = Envelope(time.monotonic_ns(), 1, Branches(1, 40, 64, (), (7,), (0.5,)))
    frames, count = Frames(), 20_000
    start = time.perf_counter()
    for _ in range(count):
        for body in frames.feed(encode(envelope)):
            decode(body)
    return (time.perf_counter() - start) / count * 1e6


def tcp_round_trip() -> float:
    """Microseconds for a message to a peer on loopback and one back, both endpoints in this event loop."""

    async def scenario() -> float:
        count, done = 3000, asyncio.get_running_loop().create_future()
        left = count

        def at_a(arrival: Arrival) -> None:
            a.send("b", arrival.message)

        def at_b(arrival: Arrival) -> None:
            nonlocal left
            left -= 1
            if left:
                b.send("a", Close(left))
            else:
                done.set_result(None)

        secret = new_secret()
        a, b = (
            TcpEndpoint(name, receive, print, keys_of(secret, name, "ab"))
            for name, receive in (("a", at_a), ("b", at_b))
        )
        port = await a.listen("127.0.0.1", 0)
        await b.connect("a", "127.0.0.1", port)
        start = time.perf_counter()
        b.send("a", Close(left))
        await done
        elapsed = time.perf_counter() - start
        await asyncio.gather(a.close(), b.close())
        return elapsed / count * 1e6

    return asyncio.run(scenario())


def worker_overhead() -> tuple[Measurement, Measurement]:
    """One draft pass through the worker process: its whole time, and what is not the forward pass itself."""

    async def scenario() -> tuple[list[float], list[float]]:
        client = WorkerClient(lambda why: None, Barriers(WALL), {"draft": load_profile("native")})
        await client.start(WorkerConfig({"draft": "tiny-draft"}, {"draft": load_profile("native").timing}))
        whole, overhead = [], []
        for index in range(400):
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            start = time.monotonic_ns()
            job = Draft(job=index, request=1, position=index, tokens=(1 + index % 100,))
            client.submit(job, lambda _, answer, future=answered: future.set_result(answer))  # type: ignore[misc]
            answer = await answered
            whole.append((time.monotonic_ns() - start) / 1e3)
            overhead.append(whole[-1] - answer.passes[0].real_ms * 1e3)
        await client.close()
        return whole, overhead

    whole, overhead = asyncio.run(scenario())

    def figure(name: str, values: list[float], compared_with: str) -> Measurement:
        ordered = sorted(values)
        tenth = len(ordered) // 10
        return Measurement(name, statistics.median(ordered), "us", ordered[tenth], ordered[-tenth], compared_with)

    return (
        figure("draft pass through the worker process", whole, "unpaced, one token, 10 to 90 %"),
        figure("of which not the forward pass", overhead, "pipe, decoding rule, wake-ups"),
    )


def decoding_loops() -> list[Measurement]:
    """Tokens per second of three ways to decode with the shipped pair in this process."""
    report = check_pair("tiny-target", "tiny-draft", load_prompts("prose").prompts[:8])
    rates = report.rates
    assert rates.transformers_assisted is not None, "the shipped pair has one vocabulary"
    ways = {
        "plain greedy, our loop": rates.plain,
        "plain greedy, transformers generate": rates.transformers_plain,
        f"speculative k={rates.k}, our loop": rates.speculative,
        f"assisted generation k={rates.k}, transformers": rates.transformers_assisted,
    }
    compared = f"same pair and prompts, greedy, {rates.threads} thread(s)"
    return [Measurement(name, value, "tokens/s", value, value, compared) for name, value in ways.items()]


def machinery_figures() -> list[Measurement]:
    return [
        repeat("encode and decode one speculation", "us", wire_codec, "msgspec tagged struct, length prefix"),
        repeat("TCP round trip on loopback", "us", tcp_round_trip, "asyncio protocol, both ends in one loop"),
        repeat("simulation kernel", "events/s", kernel_events_per_second, "trivial callbacks; SimPy: about 1.1 M/s"),
        repeat(
            "simulated WANSpec, one user",
            "tokens/s",
            emitted_tokens_per_second,
            "splitwise-sim, without a network: 155 to 275 k tokens/s",
            times=3,
        ),
        *worker_overhead(),
        *decoding_loops(),
    ]
