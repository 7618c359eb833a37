"""A network comes up with the links it was asked for, proves it by measuring, and goes without a trace."""

import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.errors import BadInput, MachineCannot
from testbed.network.hosts import enter
from testbed.network.network import Network, node_address
from testbed.network.spec.fabric import Link
from testbed.network.spec.topology import load_topology, specified_links
from testbed.system.cleaning import clean
from testbed.system.journal import Journal, read_entries
from testbed.system.makers import start_time

TWO = load_topology("two-sites")
PLACEMENT = {"user": "near", "target": "near", "drafter": "far"}


def test_links_follow_the_regions_the_nodes_stand_in() -> None:
    links = {(link.src, link.dst): link.one_way_ms for link in specified_links(TWO, PLACEMENT)}
    assert len(links) == 6
    assert links["user", "target"] == 0.5
    assert links["user", "drafter"] == links["drafter", "target"] == 10.0


def test_addresses_are_distinct_for_as_many_nodes_as_the_plan_carries() -> None:
    addresses = {node_address(index) for index in range(1024)}
    assert len(addresses) == 1024
    assert node_address(0) == "10.77.0.1"


def test_a_region_that_is_not_there_and_a_lone_node_are_bad_input(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(BadInput, match="no region 'nea'; did you mean 'near'"):
        Network(TWO, {"a": "nea", "b": "far"}, "auto", "x", journal)
    with pytest.raises(BadInput, match="two nodes or more"):
        Network(TWO, {"a": "near"}, "auto", "x", journal)


@pytest.mark.shaped
@pytest.mark.alone
def test_every_pair_has_its_rtt_and_nothing_remains(run_id: str, journal: Journal) -> None:
    with Network(TWO, PLACEMENT, "auto", run_id, journal) as network:
        samples = {(sample.src, sample.dst): sample for sample in network.samples}
        assert len(samples) == 6
        # medians only: a busy machine moves tails, and the tails are the business of `verify` in a run
        assert all(abs(sample.error_ms or 0.0) < max(0.5, 0.02 * sample.specified_ms) for sample in samples.values())
        assert all(sample.received == sample.sent for sample in samples.values())
        assert network.counters().unmatched == 0
        pids = [port.pid for port in network.ports]
        program = network.hosts.popen_at(
            network.pid("drafter"), ["ping", "-c", "1", network.address("user")], stdout=-1
        )
        assert b"1 received" in program.communicate()[0]
    network.close()
    assert all(start_time(pid) is None for pid in pids)


@pytest.mark.shaped
@pytest.mark.alone
def test_a_change_is_what_packets_then_experience(run_id: str, journal: Journal) -> None:
    with Network(TWO, {"a": "near", "b": "far"}, "auto", run_id, journal) as network:
        network.shape([Link("a", "b", 3.0), Link("b", "a", 1.0)])
        forward, backward = network.probe(60)
        assert forward.specified_ms == backward.specified_ms == 4.0
        assert forward.one_way_median_ms is not None and backward.one_way_median_ms is not None
        assert 1.0 < forward.one_way_median_ms - backward.one_way_median_ms < 3.0
        assert abs(statistics.median(forward.rtts_ms) - 4.0) < 0.5


@pytest.mark.shaped
def test_a_delay_below_the_bare_path_is_refused(run_id: str, journal: Journal) -> None:
    with Network(TWO, {"a": "near", "b": "far"}, "auto", run_id, journal) as network:
        with pytest.raises(BadInput, match="but the bare path takes"):
            network.shape([Link("a", "b", 0.0), Link("b", "a", 1.0)])


@pytest.mark.shaped
def test_bring_up_that_fails_half_way_leaves_nothing(
    run_id: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **options: object) -> None:
        raise MachineCannot("the measuring process failed")

    monkeypatch.setattr("testbed.network.network.probe_links", broken)
    with pytest.raises(MachineCannot), Network(TWO, PLACEMENT, "auto", run_id, journal):
        pass
    made = [entry for entry in journal.entries() if entry.kind == "group"]
    assert len(made) >= 3
    assert all(start_time(int(entry.name)) != entry.start for entry in made)


@pytest.mark.shaped
def test_a_killed_run_is_cleaned_and_only_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from testbed.system.journal import Journal; from testbed.network.network import Network\n"
        "from testbed.network.spec.topology import load_topology\n"
        "place = {'a': 'near', 'b': 'far'}\n"
        "n = Network(load_topology('two-sites'), place, 'auto', 'killed', Journal(Path(sys.argv[1])))\n"
        "n.__enter__(); p = n.hosts.popen_at(n.pid('a'), ['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    )
    path = tmp_path / "killed" / "journal.jsonl"
    run = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert run.stdout is not None
    program = int(run.stdout.readline())
    run.kill()
    run.wait()
    assert start_time(program) is not None
    made = [entry for entry in read_entries(path) if entry.kind in ("group", "process")]
    clean(remove_named, tmp_path)
    assert all(start_time(int(entry.name)) != entry.start for entry in made)
    assert not path.exists()
    assert bystander.poll() is None
    os.killpg(bystander.pid, signal.SIGKILL)
    bystander.wait()
    assert subprocess.run(enter(program, ["true"]), capture_output=True).returncode != 0
