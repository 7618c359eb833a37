"""The network's bench: figures say what was measured, what cannot be had is said, and nothing is left behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.bench import network as bench_network
from testbed.bench.__main__ import main
from testbed.bench.measurement import Measurement, readable
from testbed.errors import BadInput, MachineCannot
from testbed.network.measure.probe import summarise
from testbed.network.netem.plan import undelayed
from testbed.network.relay.process import TUN_PATH
from testbed.system.journal import state_dir


def test_errors_are_of_medians_pair_by_pair_and_of_all_probes_together() -> None:
    late_ns = [20_000_000 + 10_000 * number for number in range(100)]  # one way, 0 to 0.99 ms too late
    exact = [(20_000_000, 20_000_000)] * 100
    samples = [
        summarise(("a", "b"), 40.0, exact, 100),
        summarise(("b", "a"), 40.0, [(one, 20_000_000) for one in late_ns], 100),
    ]
    medians, tail = bench_network.of_samples("relay", samples)
    assert (medians.low, medians.high) == (0.0, pytest.approx(0.495))
    assert tail.value == pytest.approx(0.97)  # of 200 probes the 198th
    assert tail.high == pytest.approx(0.99)


def test_pairs_without_an_answer_make_no_figure() -> None:
    samples = [summarise(("a", "b"), 40.0, [], 100)]
    with pytest.raises(MachineCannot, match="nothing came back over 1 pairs"):
        bench_network.of_samples("relay", samples)


def test_the_random_matrix_is_asymmetric_and_the_same_every_time() -> None:
    one, same = (bench_network.random_topology(["a", "b", "c"], seed=1) for _ in range(2))
    assert one == same
    assert one.one_way_ms("a", "b") != one.one_way_ms("b", "a")


def test_a_fabric_that_cannot_be_had_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(name: str, _: object) -> None:
        if name == "netem":
            raise MachineCannot("no netem here; modprobe sch_netem")

    made = Measurement("relay: x", 1.0, "ms", 1.0, 1.0, "")
    monkeypatch.setattr(bench_network, "choose_fabric", choose)
    monkeypatch.setattr(bench_network, "machine_lock", contextlib.nullcontext)  # another emulation may be running
    monkeypatch.setattr(bench_network, "fabric_figures", lambda name: [made] if name == "relay" else [])
    assert bench_network.network_figures(["netem", "relay"]) == [made]
    assert "bench: netem is left out: no netem here" in capsys.readouterr().err


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(BadInput, match="no section 'netwerk'; sections: network, "):
        main(["netwerk"])


@pytest.mark.parametrize(("value", "text"), [(0.012345, "0.0123"), (7.0, "7"), (122_500.4, "122500"), (99.96, "100")])
def test_figures_keep_three_digits(value: float, text: str) -> None:
    assert readable(value) == text


def test_traffic_counts_numbers_once_and_says_which_were_overtaken() -> None:
    from testbed.bench.traffic import UDP_PORT

    collecting = subprocess.Popen(
        [sys.executable, "-m", "testbed.bench.traffic", "collect"], stdout=subprocess.PIPE, text=True
    )
    assert collecting.stdout is not None and collecting.stdout.readline() == "ready\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for number in (0, 1, 3, 2, 2):
            out.sendto(number.to_bytes(4, "big"), ("127.0.0.1", UDP_PORT))
    assert collecting.communicate()[0] == "4 1\n"


@pytest.mark.shaped
@pytest.mark.skipif(not Path(TUN_PATH).exists(), reason=f"{TUN_PATH} is missing")
def test_a_flow_is_measured_and_nothing_is_left() -> None:
    before = sorted(state_dir().glob("b*"))
    with bench_network.wired("relay", 2) as two:
        two.fabric.shape(undelayed(two.ports))
        with two.receiving(1, "receive") as output:
            assert int(two.sends(0, "send", 1, 0.5).communicate()[0]) > 0
            assert float(output.readline()) > 0
        namespaces = [Path(f"/proc/{port.pid}") for port in two.ports]
    assert not any(path.exists() for path in namespaces)
    assert sorted(state_dir().glob("b*")) == before
