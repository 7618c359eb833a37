"""The compiled world says what the object world says, row for row and to the nanosecond, or nothing (invariant 3)."""

import itertools
import random

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import decode_table

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile
from testbed.models.replay import TableMiss
from testbed.models.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.nodes.control import PlannedRequest
from testbed.policies import registry
from testbed.scenario import PolicyEntry
from testbed.simulation.compiled import supports
from testbed.simulation.compiled.layout import PROBLEMS
from testbed.simulation.compiled.phase import Anomaly, run_phase
from testbed.simulation.compiled.sizes import more_for_int, more_for_tokens
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import Overheads, World, WorldSpec

KINDS = ("requests", "rounds", "steps", "messages")
# Ones that meet pass times and their sums, so that many events fall on one nanosecond.
ONE_WAY_MS = (0.0, 0.5, 1.0, 2.5, 3.75, 7.5, 11.7, 20.0, 23.4, 50.0)
RATES_BPS = (None, 50_000, 1_000_000, 10_000_000)
ENTROPIES = ByOutcome(Exponential(0.3), Exponential(1.5))


def profile(first_ms: float, most: int) -> DeviceProfile:
    return DeviceProfile(
        name=f"made-up-{first_ms}-{most}",
        device="made up",
        model="made up",
        kind="synthetic",
        source="a test",
        pass_ms=((1, first_ms), (max(2, most), first_ms * 1.7)),
        max_pass_tokens=most,
    )


def entry_of(policy: str, **params: object) -> PolicyEntry:
    parsed = registry.get(policy).parse(params)
    return PolicyEntry(name=policy, label=policy, params=parsed.model_dump(mode="json"))


def planned_of(table, output_tokens=None, first=1, eos=()) -> list[PlannedRequest]:
    return [
        PlannedRequest(number, prompt, one.prompt, output_tokens or len(one.tokens), Sampling(), eos, None)
        for number, (prompt, one) in enumerate(table.prompts.items(), start=first)
    ]


def spec_of(near_ms=0.5, far_ms=5.75, rate_bps=None, users=1, drafters=1, drain_ns=0, **changes) -> WorldSpec:
    nodes = {f"user{index}": ("user", "here") for index in range(users)}
    nodes |= {"target0": ("target", "here")} | {f"drafter{index}": ("drafter", "there") for index in range(drafters)}
    links = {
        (a, b): LinkSpec(near_ms if nodes[a][1] == nodes[b][1] else far_ms, rate_bps=rate_bps)
        for a in nodes
        for b in nodes
        if a != b
    }
    profiles = {"target": load_profile("l40s/llama-3.1-8b"), "draft": load_profile("l40s/llama-3.2-1b")}
    return WorldSpec(
        **({"nodes": nodes, "links": links, "profiles": profiles, "seed": 1, "drain_ns": drain_ns} | changes)
    )


def assert_same(spec, entry, planned, table) -> None:
    """Both worlds give the same rows, or both refuse."""
    assert supports(spec, entry, planned, table) is None
    try:
        objects = World(spec, entry, 3, planned, table).run()
    except TableMiss:
        with pytest.raises(Anomaly, match="left the decode table"):
            run_phase(spec, entry, 3, planned, table)
        return
    compiled = run_phase(spec, entry, 3, planned, table)
    for kind in KINDS:
        ours, theirs = list(getattr(compiled, kind)), getattr(objects, kind)
        assert ours == theirs, f"{kind}: first difference {first_difference(ours, theirs)}"


def first_difference(ours, theirs):
    if len(ours) != len(theirs):
        print(len(ours), "rows against", len(theirs))
    return next(((at, a, b) for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), "in length")


@st.composite
def wanspec_parameters(draw):
    k = draw(st.integers(1, 8))
    return {
        "k": k,
        "phi": draw(st.sampled_from([None, 0.0, 0.3, 0.5, 2.0])),
        "rule": draw(st.sampled_from(["literal", "t_draft_aware"])),
        "contradiction": draw(st.booleans()),
        "rtt_ms": draw(st.sampled_from(["measured", 0.0, 7.5, 11.5, 15.0, 100.0])),
        "max_lookahead": draw(st.integers(k, 18)),
    }


@st.composite
def phases(draw, policy):
    """A world, its requests and a table, such that nothing but the table's depth can stop it."""
    params = {"speculative": st.fixed_dictionaries({"k": st.integers(1, 8)}), "wanspec": wanspec_parameters()}
    entry = entry_of(policy, **draw(params.get(policy, st.just({}))))
    table = iid_table(
        made_up_prompts(draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(0, 99))),
        draw(st.integers(1, 100)),
        draw(st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0])),
        ENTROPIES,
        ENTROPIES,
        seed=draw(st.integers(0, 99)),
        depth=draw(st.sampled_from([18, 18, 18, 5])),
    )
    shortest = min(len(one.tokens) for one in table.prompts.values())
    last = list(table.prompts.values())[-1].tokens
    eos = tuple(draw(st.lists(st.sampled_from(last), max_size=2)))
    planned = planned_of(table, draw(st.integers(1, shortest)), draw(st.sampled_from([1, 120, 65_000])), eos)
    spec = spec_of(
        near_ms=draw(st.sampled_from(ONE_WAY_MS[:4])),
        far_ms=draw(st.sampled_from(ONE_WAY_MS)),
        rate_bps=draw(st.sampled_from(RATES_BPS)),
        users=draw(st.sampled_from([1, 1, 1, 2, 3])),
        drain_ns=draw(st.sampled_from([0, 10_000_000, 150_000_000])),
        profiles={
            "target": profile(draw(st.sampled_from([23.4, 15.0, 1.0])), draw(st.sampled_from([7, 40, 2048]))),
            "draft": profile(draw(st.sampled_from([7.5, 5.0, 1.0])), draw(st.sampled_from([1, 7, 2048]))),
        },
        overheads=draw(st.sampled_from([Overheads(), Overheads(), Overheads(0.4, 0.17)])),
    )
    return spec, entry, planned, table


THOROUGHLY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@THOROUGHLY
@given(phases("wanspec"))
def test_wanspec_rows_are_those_of_the_object_world(phase):
    assert_same(*phase)


@settings(THOROUGHLY, max_examples=60)
@given(phases("speculative"))
def test_speculative_rows_are_those_of_the_object_world(phase):
    assert_same(*phase)


@settings(THOROUGHLY, max_examples=30)
@given(phases("autoregressive"))
def test_autoregressive_rows_are_those_of_the_object_world(phase):
    assert_same(*phase)


@pytest.mark.parametrize("far_ms", ONE_WAY_MS)
def test_wanspec_rows_over_a_grid_of_full_length_requests(far_ms):
    """Drawn phases are mostly short; a rule that acts rarely shows in long ones, at every combination of switches."""
    table = iid_table(made_up_prompts(2, 20, 1), 100, 0.75, ENTROPIES, ENTROPIES, seed=5, depth=18)
    for k, phi, rule, contradiction, rtt_ms in itertools.product(
        (1, 2, 4), (None, 0.5, 2.0), ("literal", "t_draft_aware"), (True, False), ("measured", 100.0)
    ):
        params = {"k": k, "phi": phi, "rule": rule, "contradiction": contradiction, "rtt_ms": rtt_ms}
        assert_same(spec_of(far_ms=far_ms), entry_of("wanspec", **params), planned_of(table), table)


@pytest.mark.parametrize("far_ms", [0.0, 3.75, 7.5, 500.0])
def test_ties_and_a_worker_out_of_reach(far_ms):
    """Links of 0 or of a draft's length: events meet at one nanosecond, and only the order of making tells."""
    spec = spec_of(near_ms=0.0, far_ms=far_ms, users=2, drain_ns=2_000_000_000)
    assert_same(spec, entry_of("wanspec"), planned_of(decode_table(0.7)), decode_table(0.7))


def test_more_messages_under_way_than_a_ring_first_holds():
    table = decode_table(1.0, output_tokens=17)
    spec = spec_of(far_ms=40_000.0, users=12, drain_ns=200_000_000_000)
    wide = planned_of(decode_table(1.0, prompts=24, output_tokens=17))
    assert_same(spec, entry_of("wanspec", max_lookahead=16), wide, decode_table(1.0, prompts=24, output_tokens=17))
    assert table.depth == 17


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40, -1, -32, -33,
                                   -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1])  # fmt: skip
def test_an_integer_takes_the_bytes_that_the_encoder_gives_it(value):
    assert 1 + more_for_int(value) == len(msgspec.msgpack.encode(value))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 65_535, 65_536])
def test_tokens_take_the_bytes_that_the_encoder_gives_them(count):
    draws = random.Random(count)
    tokens = [draws.choice([5, 200, 30_000, 70_000]) for _ in range(count)]
    more = more_for_tokens(np.array([7, *tokens], np.int64), 1, count)
    assert 1 + more == len(msgspec.msgpack.encode(tokens))


def declined(**changes):
    table = decode_table(0.7)
    planned, entry = changes.pop("planned", planned_of(table)), changes.pop("entry", entry_of("wanspec"))
    return supports(spec_of(**changes), entry, planned, table)


def test_what_it_cannot_do_it_declines_with_the_reason():
    table = decode_table(0.7)
    plain = spec_of()
    jittery = {pair: LinkSpec(1.0, jitter_ms=0.1) for pair in plain.links}
    by_cache = profile(1.0, 2048).model_copy(update={"attention_ms": 1e-6})
    small = profile(1.0, 2048).model_copy(update={"kv_capacity_tokens": 70})
    large = small.model_copy(update={"kv_capacity_tokens": 100_000})
    due = [msgspec.structs.replace(one, due_ms=1.0) for one in planned_of(table)]
    sampled = [msgspec.structs.replace(one, sampling=Sampling(temperature=1.0)) for one in planned_of(table)]
    other = [msgspec.structs.replace(one, prompt=(1, 2)) for one in planned_of(table)]
    assert declined() is None
    assert "2 drafter nodes" in declined(drafters=2)
    assert "jitter" in declined(links=jittery)
    assert "attention_ms" in declined(profiles={"target": by_cache, "draft": by_cache})
    assert "memory" in declined(profiles={"target": small, "draft": small})
    assert declined(profiles={"target": large, "draft": large}) is None
    assert "due times" in declined(planned=due)
    assert "sampled" in declined(planned=sampled)
    assert "decode table" in declined(planned=other)
    assert "no request" in declined(planned=[])


def test_a_parameter_that_is_not_known_is_declined_unless_it_is_at_its_default(monkeypatch):
    """What another policy version adds is the object world's until it is compiled."""
    from testbed.policies import wanspec
    from testbed.policies.wanspec.params import WanspecParams
    from testbed.simulation.compiled import support

    class More(WanspecParams):
        novelty: int = 0

    spec = msgspec.structs.replace(wanspec.SPEC, params=More)
    monkeypatch.setitem(registry._BUILT_IN, "wanspec", spec)
    monkeypatch.setattr(support.wanspec, "SPEC", spec)
    assert declined(entry=entry_of("wanspec")) is None
    reason = supports(spec_of(), entry_of("wanspec", novelty=1), planned_of(decode_table(0.7)), decode_table(0.7))
    assert "novelty" in reason


def test_a_third_party_policy_is_declined(monkeypatch):
    """Even one that has a built-in policy's name."""
    monkeypatch.setitem(registry._BUILT_IN, "wanspec", msgspec.structs.replace(registry.get("wanspec")))
    assert "not compiled" in declined(entry=entry_of("wanspec"))


def test_leaving_the_table_is_left_to_the_object_world_to_explain():
    from testbed.simulation.phases import Phases

    table = decode_table(0.7, output_tokens=20)
    planned = planned_of(table, output_tokens=30)  # more than is recorded
    with pytest.raises(Anomaly, match=PROBLEMS[4]):
        run_phase(spec_of(), entry_of("wanspec"), 0, planned, table)
    with pytest.raises(BadInput, match=r"prompt 'p0', output position 20: the output is recorded no further"):
        Phases().run(spec_of(), entry_of("wanspec"), 0, planned, table)
