"""A phase in virtual time: timers, round-trip samples, users, and policies that come to rest."""

import dataclasses
import statistics

import pytest
from pydantic import BaseModel

from testbed.errors import RunInvalid
from testbed.experiment.requests import plan_requests
from testbed.policies import api, registry
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import World
from testbed.wire import messages
from testbed.workload.arrivals import Poisson, PoissonArrivals, due_times_ms
from tests.simulation.made_up import POLICIES, decode_table, inputs_of, latencies_ms, rows, scenario


class Alarm:
    """A target that answers a request when its timer rings, after one that it called off."""

    def __init__(self, params, context):
        self.request, self.user, self.samples = None, None, []

    def handle(self, event, now):
        match event:
            case api.LinkSample(peer, rtt_ms):
                self.samples.append((now, peer, rtt_ms))
            case api.MessageReceived(sender, messages.Request() as request):
                self.request, self.user = request, sender
                later = [api.SetTimer("gone", now + 1.0), api.SetTimer("rings", now + 2.0), api.CancelTimer("gone")]
                return [*later, api.SetTimer("rings", now + 5.0)]  # set again: it rings once, at the later time
            case api.TimerFired("rings"):
                answer = messages.Tokens(self.request.request, 0, (int(now * 10),), True)
                return [api.Send(self.user, answer), api.Finish(self.request.request)]
            case api.TimerFired("gone"):
                raise AssertionError("a timer that was called off rang")
        return []


class NoParameters(BaseModel):
    pass


def world_of(monkeypatch, target, *, series=None, requests=1, **changes):
    """A world whose only policy is `target`, on the made-up experiment."""
    spec = PolicySpec("alarm", "", NoParameters, {"user": make_user, "target": target}, {})
    monkeypatch.setitem(registry._BUILT_IN, "alarm", spec)
    made = scenario("alarm", requests=requests, output_tokens=1, **changes)
    table = decode_table(0.5, output_tokens=1, prompts=requests)
    inputs = inputs_of(made, table)
    planned = plan_requests(made, inputs.experiment.prompts, inputs.encode, (), 1, 0)
    world = inputs.world()
    if series is not None:
        links = {pair: LinkSpec(link.one_way_ms, series=series) for pair, link in world.links.items()}
        world = dataclasses.replace(world, links=links)
    return World(world, made.policies[0], 0, planned, table)


def test_timers_ring_at_their_time_once_and_not_when_called_off(monkeypatch):
    (row,) = world_of(monkeypatch, Alarm).run().requests
    assert row.tokens == (55,)  # 0.5 ms to the target, 5 ms of waiting
    assert row.finished_ns == 6_000_000


def test_a_policy_that_waits_for_what_nobody_sends_is_an_error_not_an_endless_run(monkeypatch):
    class Deaf(Alarm):
        def handle(self, event, now):
            return []

    with pytest.raises(RunInvalid, match="2 requests are unanswered"):
        world_of(monkeypatch, Deaf, requests=2).run()


def test_a_message_to_a_node_without_a_role_is_an_error(monkeypatch):
    class Lost(Alarm):
        def handle(self, event, now):
            return [api.Send("drafter0", messages.Close(1))] if isinstance(event, api.MessageReceived) else []

    with pytest.raises(RunInvalid, match="'drafter0'"):
        world_of(monkeypatch, Lost).run()


@pytest.mark.parametrize("varies", [False, True], ids=["constant", "varying"])
def test_roles_know_the_round_trip_from_the_start_and_hear_again_only_where_it_varies(monkeypatch, varies):
    roles = []

    class Slow(Alarm):
        def __init__(self, params, context):
            super().__init__(params, context)
            roles.append(self)

        def handle(self, event, now):
            commands = super().handle(event, now)
            return [
                api.SetTimer("rings", now + 600.0) if isinstance(command, api.SetTimer) else command
                for command in commands
            ]

    step = (lambda now_ns: 7_000_000 if now_ns < 400_000_000 else 9_000_000) if varies else None
    world_of(monkeypatch, Slow, series=step).run()
    (role,) = roles
    first, later = role.samples[:18], role.samples[18:]
    assert [peer for _, peer, _ in first] == ["drafter0"] * 9 + ["user0"] * 9
    if not varies:
        assert {rtt_ms for _, peer, rtt_ms in first if peer == "drafter0"} == {20.0} and not later
    else:
        assert {rtt_ms for _, _, rtt_ms in first} == {14.0}
        assert {(at, rtt_ms) for at, _, rtt_ms in later if at < 600} == {(264.0, 14.0), (518.0, 18.0)}


def test_open_loop_requests_are_sent_at_their_due_times_whatever_is_under_way():
    table = decode_table(0.7, prompts=6)
    log = rows(table, "autoregressive", workload={
        "prompts": "made-up", "requests": 6, "output_tokens": 60, "arrivals": {"poisson": {"rate_per_s": 5.0}},
    })  # fmt: skip
    sent = sorted(row.sent_ns for row in log["requests"])
    due = due_times_ms(PoissonArrivals(poisson=Poisson(rate_per_s=5.0)), 6, 3)
    assert sent == [round(at * 1e6) for at in due]
    assert all(row.scheduled_ns == row.sent_ns for row in log["requests"])


def test_users_share_the_requests_and_the_target_serves_all_of_them():
    table = decode_table(0.7, prompts=8)
    place = {"user": {"near": 4}, "target": "near", "drafter": "far"}
    log = rows(table, *POLICIES, place=place)
    assert all(row.lossless for row in log["requests"])
    by_user = {f"user{n}": sum(row.node == f"user{n}" for row in log["requests"]) for n in range(4)}
    assert by_user == dict.fromkeys(by_user, 2 * len(POLICIES))
    alone = statistics.mean(latencies_ms(rows(table, "autoregressive")))
    turns = {"autoregressive": {"max_batch": 1}}
    in_turn = statistics.mean(latencies_ms(rows(table, turns, place=place)))
    assert in_turn == pytest.approx(4 * alone, rel=0.02)  # four users, one device, turn by turn
    shared = statistics.mean(latencies_ms(rows(table, "autoregressive", place=place)))
    assert alone <= shared <= 1.05 * alone  # a pass over four tokens takes about as long as over one
