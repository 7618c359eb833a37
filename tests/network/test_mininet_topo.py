"""A Mininet Topo collapses to exactly what lies between its hosts; what cannot be said end to end is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.network.spec.mininet_topo import EndToEnd, Wire, collapse, tc_time_ns, wires_of
from testbed.network.spec.topology import load_topology

MS = 10**6
TOPO = """\
from mininet.topo import Topo


class Wan(Topo):
    def build(self, **_):
        {build}
"""


def both(a: str, b: str, delay_ms: int, **more: Any) -> list[Wire]:
    return [Wire(a, b, delay_ms * MS, **more), Wire(b, a, delay_ms * MS, **more)]


def topo_file(tmp_path: Path, build: str) -> str:
    path = tmp_path / "wan.py"
    path.write_text(TOPO.format(build=build.strip().replace("\n", "\n        ")))
    return f"{path}:Wan"


STAR = """
s1 = self.addSwitch("s1")
for name, delay in (("h1", "5ms"), ("h2", "10ms"), ("h3", "0.5ms")):
    self.addLink(self.addHost(name), s1, delay=delay)
"""


def test_delays_add_up_over_a_star(tmp_path: Path) -> None:
    topology = load_topology(topo_file(tmp_path, STAR))
    assert topology.region_names == ["h1", "h2", "h3"]
    assert topology.one_way_ms("h1", "h2") == 15.0
    assert topology.one_way_ms("h3", "h1") == 5.5
    assert topology.rtt_ms("h1", "h3") == 11.0


def test_each_direction_has_the_options_of_the_end_it_leaves(tmp_path: Path) -> None:
    build = """
a, b = self.addHost("a"), self.addHost("b")
self.addLink(a, b, params1={"delay": "30ms", "bw": 8}, params2={"delay": "10ms", "loss": 2})
"""
    topology = load_topology(topo_file(tmp_path, build))
    assert (topology.one_way_ms("a", "b"), topology.one_way_ms("b", "a")) == (30.0, 10.0)
    assert topology.rate_bps == {"a": {"b": 8_000_000}, "b": {}}
    assert topology.loss == {"a": {}, "b": {"a": 0.02}}


def test_an_option_of_the_whole_link_goes_before_that_of_one_end(tmp_path: Path) -> None:
    """As `params1.update(params)` in mininet/link.py has it."""
    build = 'self.addLink(self.addHost("a"), self.addHost("b"), delay="20ms", params1={"delay": "1ms"})'
    topology = load_topology(topo_file(tmp_path, build))
    assert (topology.one_way_ms("a", "b"), topology.one_way_ms("b", "a")) == (20.0, 20.0)


def test_default_link_options_count(tmp_path: Path) -> None:
    path = tmp_path / "wan.py"
    path.write_text(
        "from mininet.topo import SingleSwitchTopo\n\n\nclass Wan(SingleSwitchTopo):\n"
        "    def __init__(self):\n        super().__init__(k=3, lopts={'delay': '4ms'})\n"
    )
    assert load_topology(f"{path}:Wan").one_way_ms("h1", "h3") == 8.0


def test_the_path_of_least_delay_is_taken_and_its_loss_and_rate_with_it() -> None:
    fast = [
        *both("a", "s1", 1, loss=0.1, rate_bps=10**7),
        *both("s1", "s2", 1, loss=0.5),
        *both("s2", "b", 1, rate_bps=10**6),
    ]
    pairs = collapse(["a", "b"], [*both("s1", "b", 3), *fast])
    loss: Any = pytest.approx(0.55)
    assert pairs["a", "b"] == EndToEnd(3 * MS, 0, loss, 10**6, ("a", "s1", "s2", "b"))


def test_equal_delays_go_by_hops_then_by_names() -> None:
    wires = [*both("a", "s2", 1), *both("s2", "b", 1), *both("a", "s1", 1), *both("s1", "b", 1), *both("s1", "s3", 0)]
    assert collapse(["a", "b"], wires)["a", "b"].via == ("a", "s1", "b")


def test_hosts_forward_nothing() -> None:
    wires = [*both("a", "b", 1), *both("b", "c", 1), *both("a", "s", 9), *both("s", "c", 9)]
    pairs = collapse(["a", "b", "c"], wires)
    assert pairs["a", "c"].delay_ns == 18 * MS
    assert pairs["b", "c"].via == ("b", "c")


def test_a_pair_without_a_path_is_refused() -> None:
    with pytest.raises(BadInput, match="no path from a to c; link them"):
        collapse(["a", "b", "c"], both("a", "b", 1))


def test_one_link_with_jitter_on_the_path_is_kept_and_two_are_refused() -> None:
    one = [*both("a", "s", 5, jitter_ns=MS), *both("s", "b", 5)]
    assert collapse(["a", "b"], one)["a", "b"].jitter_ns == MS
    two = [*both("a", "s", 5, jitter_ns=MS), *both("s", "b", 5, jitter_ns=MS)]
    with pytest.raises(BadInput, match="a -> b: jitter on a -> s, s -> b; the sum of two jitters cannot be expressed"):
        collapse(["a", "b"], two)


@pytest.mark.parametrize(
    ("text", "ns"), [("20ms", 20 * MS), ("1.5s", 1500 * MS), ("300us", 300_000), ("20 msecs", 20 * MS), (250, 250_000)]
)
def test_times_are_read_as_tc_reads_them(text: object, ns: int) -> None:
    assert tc_time_ns(text, "delay") == ns


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('delay="soon"', "link a - b: delay: 'soon' is not a time"),
        ("bw=2000", "link a - b: bw: 2000 is not a number of Mbit/s from 0.008 to 1000"),
        ("loss=101", "link a - b: loss: 101 is not a number of percent from 0 to 100"),
        ("max_queue_size=100", "link a - b: max_queue_size cannot be expressed for an end-to-end link; remove it"),
        ("enable_ecn=True", "link a - b: enable_ecn cannot be expressed"),
        ("cls=__import__('mininet.link').link.OVSLink", "link a - b: cls OVSLink does not shape"),
    ],
)
def test_what_cannot_be_expressed_is_refused_in_one_line(tmp_path: Path, options: str, said: str) -> None:
    name = topo_file(tmp_path, f'self.addLink(self.addHost("a"), self.addHost("b"), {options})')
    with pytest.raises(BadInput) as caught:
        load_topology(name)
    assert str(caught.value).startswith(f"topology {name}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (None, "Wan", "No such file"),
        ("import nothing_of_that_name", "Wan", "running .* failed .ModuleNotFoundError"),
        ("class Wan: pass", "Wan", "no Topo class or entry of `topos` has this name"),
        (TOPO.format(build="raise ValueError('k?')"), "Wan", ":6: making Wan without arguments failed .ValueError: k?"),
        (TOPO.format(build="pass"), "Wan", "no hosts; add some with addHost"),
        (TOPO.format(build="self.addHost('a'); self.addHost('b')"), "Wan", "no path from a to b"),
    ],
)
def test_a_file_that_gives_no_topo_is_refused_in_one_line(
    tmp_path: Path, text: str | None, name: str, said: str
) -> None:
    path = tmp_path / "given.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        load_topology(f"{path}:{name}")
    assert "\n" not in str(caught.value)


def test_names_and_ports_of_interfaces_are_no_shaping(tmp_path: Path) -> None:
    from mininet.topo import Topo

    topo = Topo()
    topo.addLink(topo.addHost("a"), topo.addSwitch("s"), port1=3, intfName1="eth9", bw=10, use_htb=True)
    assert wires_of(topo) == [Wire("a", "s", rate_bps=10**7), Wire("s", "a", rate_bps=10**7)]
