"""The netem encoder and the whole fabric `netem` on a kernel that has netem: the lab's, whatever this machine's is.

Settings are read back twice, by our decoder and by tc, which shares no code with us.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.containers.removal import remove_named
from testbed.network.lab.inside import empty_lab, run_inside
from testbed.network.lab.kernel import LabKernel, missing_parts
from testbed.network.netem.encoder import RESET_BYTES, NetemState, decode_options, decode_qdisc, encode_options
from testbed.system.journal import Journal
from testbed.system.netlink import (
    NLM_F_ECHO,
    RTM_NEWQDISC,
    TCA_KIND,
    TCA_OPTIONS,
    Refusal,
    attribute,
    qdisc_request,
)

pytestmark = [
    pytest.mark.shaped,
    pytest.mark.skipif(not os.environ.get("CI") and bool(missing_parts()), reason=str(missing_parts())),
]
LOOPBACK = 1
HANDLE = 1 << 16
AT_ROOT = 0xFFFFFFFF  # TC_H_ROOT, linux/pkt_sched.h


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabKernel]:
    journal = Journal(tmp_path_factory.mktemp("inside") / "journal.jsonl")
    with empty_lab(journal) as kernel:
        yield kernel
    journal.undo(remove_named)
    journal.close()


@pytest.fixture
def netem(lab: LabKernel) -> Iterator[LabKernel]:
    """A netem on the guest's loopback."""
    lab.ask("tc qdisc add dev lo root handle 1: netem")
    yield lab
    lab.ask("tc qdisc del dev lo root")


def request(state: NetemState, handle: int = HANDLE) -> bytes:
    rest = attribute(TCA_KIND, b"netem\0") + attribute(TCA_OPTIONS, encode_options(state))
    return qdisc_request(RTM_NEWQDISC, NLM_F_ECHO, 1, LOOPBACK, handle, AT_ROOT, rest)


def by_tc(kernel: LabKernel) -> dict[str, Any]:
    (shown,) = json.loads(kernel.ask("tc -s -j qdisc show dev lo"))
    return shown["options"]  # type: ignore[no-any-return]


def by_us(kernel: LabKernel) -> tuple[NetemState, tuple[str, ...]]:
    (shown,) = [one for one in map(decode_qdisc, kernel.dump_qdiscs()) if one.ifindex == LOOPBACK]
    return decode_options(shown.options)


STATES: dict[str, Any] = {
    "delay": (NetemState(10_050_001, 4321), {"delay": {"delay": 0.010050001}, "limit": 4321}),
    "jitter": (NetemState(5_000_000, jitter_ns=250_000), {"delay": {"delay": 0.005, "jitter": 0.00025}}),
    "loss": (NetemState(loss=0.125), {"loss-random": {"loss": 0.125}}),
    "burst": (
        NetemState(burst=(0.02, 0.25, 0.75, 0.125)),
        {"loss-gemodel": {"p": 0.02, "r": 0.25, "1-h": 0.75, "1-k": 0.125}},
    ),
    "reorder": (NetemState(5_000_000, reorder=0.25), {"reorder": {"reorder": 0.25}, "gap": 1}),
    "rate": (NetemState(rate_bytes_per_s=1_250_000), {"rate": {"rate": 1_250_000}}),
    "fast": (NetemState(rate_bytes_per_s=12_500_000_000), {"rate": {"rate": 12_500_000_000}}),
}


@pytest.mark.parametrize("name", STATES)
def test_the_kernel_takes_a_state_and_tc_sees_the_same(netem: LabKernel, name: str) -> None:
    state, seen = STATES[name]
    assert netem.prepare([request(state)], RESET_BYTES, set())() == {}  # the echo is what was asked, byte for byte
    assert by_us(netem) == (decode_options(encode_options(state))[0], ())
    shown = by_tc(netem)
    for section, values in seen.items():
        if isinstance(values, dict):
            # tc cuts times to whole microseconds
            assert {key: shown[section][key] for key in values} == pytest.approx(values, rel=1e-6, abs=1.1e-6)
        else:
            assert shown[section] == values


def test_nothing_of_an_earlier_state_stays(netem: LabKernel) -> None:
    """What the kernel's own change keeps: rate, correlations, reordering, corruption, ECN, slots."""
    netem.ask(
        "tc qdisc change dev lo root handle 1: netem delay 5ms 1ms 25% loss gemodel 1% 10% duplicate 1% reorder 25% "
        "corrupt 1% rate 1mbit ecn slot 1ms 2ms"
    )
    _, foreign = by_us(netem)
    assert set(foreign) == {"duplicate", "correlation", "corrupt", "ecn", "slot"}
    plain = NetemState(5_000_000)
    assert netem.prepare([request(plain)], RESET_BYTES, set())() == {}
    assert by_us(netem) == (plain, ())
    assert set(by_tc(netem)) <= {"limit", "delay", "ecn", "gap"}
    assert by_tc(netem)["ecn"] is False


def test_a_setting_that_differs_comes_back_whole(netem: LabKernel) -> None:
    """The kernel cuts an overlong jitter short: the guest sends its answer instead of nothing."""
    options = bytearray(encode_options(NetemState(5_000_000)))
    options[40:48] = (1 << 40).to_bytes(8, "little")  # TCA_NETEM_JITTER64
    rest = attribute(TCA_KIND, b"netem\0") + attribute(TCA_OPTIONS, bytes(options))
    asked = qdisc_request(RTM_NEWQDISC, NLM_F_ECHO, 1, LOOPBACK, HANDLE, AT_ROOT, rest)
    answer = netem.prepare([asked], RESET_BYTES, set())()[0]
    assert isinstance(answer, bytes)
    assert decode_options(decode_qdisc(answer).options)[0].jitter_ns == (1 << 31) - 1


def test_a_refusal_comes_back_with_the_kernels_words(netem: LabKernel) -> None:
    answer = netem.prepare([request(NetemState(), handle=HANDLE * 7)], RESET_BYTES, set())()[0]
    assert isinstance(answer, Refusal)
    assert answer.text


@pytest.fixture(scope="module")
def found(lab: LabKernel) -> dict[str, Any]:
    program = Path(__file__).with_name("inside_netem_fabric.py")
    return json.loads(run_inside(lab, program).splitlines()[-1])  # type: ignore[no-any-return]


def test_fabric_netem_is_chosen_by_itself_where_the_kernel_has_it(found: dict[str, Any]) -> None:
    assert found["auto"] == ["netem", "the kernel has netem"]
    assert set(found["attached"].values()) == {0.0}
    assert found["facts"]["qdiscs"] == "['htb', 'netem', 'pfifo']"


def test_every_pair_of_fabric_netem_has_its_round_trip(found: dict[str, Any]) -> None:
    assert len(found["rtt_errors_ms"]) == 6
    # that each pair has its own delay, and not another's: a guest's system calls are too slow for a claim on accuracy
    assert not [pair for pair in found["rtt_errors_ms"] if abs(pair[0]) > max(3.0, 0.03 * pair[1])]
    assert found["shown_ms"] == found["asked_ms"]
    assert found["quiet"] == [0, 0, 0, 0]


def test_a_thousand_live_updates_lose_no_packet_and_keep_their_order(found: dict[str, Any]) -> None:
    assert found["updates"]["count"] >= 1000
    assert found["updates"]["arrived"] == 2500
    assert found["updates"]["in order"]


def test_losses_on_purpose_and_cuts_are_counted_apart(found: dict[str, Any]) -> None:
    losses = found["losses"]
    assert (losses["cut"], losses["cut counted"], losses["restored"]) == (0, 100, 100)
    assert losses["lost"] == 1000 - losses["lossy"]
    assert 20 < losses["lost"] < 200  # 0.05 / 0.55 of 1000 is 91
    assert losses["dropped"] == 0


def test_the_buffer_of_a_rate_is_what_was_asked(found: dict[str, Any]) -> None:
    assert found["buffer"] == {"limit": 20_000}


def test_fabric_netem_leaves_nothing(found: dict[str, Any]) -> None:
    assert found["left"] == [[], [], []]
