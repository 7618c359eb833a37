"""Containers as nodes, one by one: what they hold, how they end, and that nothing of them stays (invariant 5)."""

from __future__ import annotations

import shutil
import subprocess
import uuid

import pytest

pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'docker>=7.1'")

from testbed.containers import build, images
from testbed.containers.nodes import ContainerNodes, exchange_folder
from testbed.containers.removal import remove_named
from testbed.containers.specification import Limits, Wanted
from testbed.errors import MachineCannot, NoEngine
from testbed.network.hosts import enter
from testbed.system.cleaning import clean
from testbed.system.journal import Journal
from tests.containers.inside import assert_libraries_are_those_of_processes, said_by_python

# the first test to run waits for the images, which are built from nothing on a fresh machine
pytestmark = [pytest.mark.docker, pytest.mark.shaped, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "state" / f"t{uuid.uuid4().hex[:6]}" / "journal.jsonl")
    (tmp_path / "state").chmod(0o700)
    yield journal
    if journal.path.exists():  # else the test has cleaned it
        journal.undo(remove_named)
        journal.close()


def wanted(journal, images, *names, **changes):
    run = journal.path.parent.name
    return [
        Wanted(run, name, images["drafter"], exchange_folder(journal, name), environment=journal.environment, **changes)
        for name in names
    ]


def names_of(client) -> set[str]:
    return {name.removeprefix("/") for one in client.api.containers(all=True) for name in one["Names"]}


def test_a_second_build_finds_everything_up_to_date(container_engine, node_images):
    notes = []
    again = build.build(container_engine, offline=True, note=notes.append)
    assert again == node_images
    assert all(note.endswith("up to date") for note in notes)


def test_the_drafter_and_the_verifier_share_their_base(container_engine, node_images):
    layers = {
        kind: container_engine.api.inspect_image(image.name)["RootFS"]["Layers"] for kind, image in node_images.items()
    }
    for variant in ("", images.WITH_TORCH):
        for kind in ("drafter", "verifier"):
            below = layers[f"base{variant}"]
            assert layers[f"{kind}{variant}"][: len(below)] == below
            assert node_images[f"{kind}{variant}"].user == "10001:10001"
    assert layers[f"base{images.WITH_TORCH}"][: len(layers["base"])] == layers["base"]
    assert 5 * node_images["drafter"].bytes < node_images[f"drafter{images.WITH_TORCH}"].bytes


def test_an_image_needs_neither_shell_nor_ip(container_engine, node_images):
    made = container_engine.api.create_container(
        node_images["drafter"].digest, entrypoint=["sh", "-c", "true"], network_disabled=True
    )
    try:
        with pytest.raises(Exception, match=r"no such file|not found"):
            container_engine.api.start(made["Id"])
    finally:
        container_engine.api.remove_container(made["Id"], force=True)


@pytest.mark.parametrize(
    ("kind", "more", "modules"),
    [("drafter", "", []), (f"drafter{images.WITH_TORCH}", ", torch, transformers", ["torch/__pycache__/functional"])],
)
def test_a_start_compiles_nothing(container_engine, node_images, kind, more, modules):
    """Python says of every module where its code came from: a source file, or the bytecode of one."""
    imports = f"import testbed.nodes.program, testbed.nodes.worker{more}"
    said = said_by_python(container_engine, node_images[kind].digest, "-v", "-c", imports)
    marker = "# code object from "
    origins = [line.removeprefix(marker).strip("'") for line in said.splitlines() if line.startswith(marker)]
    for module in ("asyncio/__pycache__/events", "nodes/__pycache__/program", *modules):
        assert any(module in origin for origin in origins), module
    assert [origin for origin in origins if not origin.endswith(".pyc")] == []


def test_bytecode_in_an_image_needs_no_check(container_engine, node_images):
    """Of Python's library, of a package whose installer had compiled it, and of ours."""
    modules = ("asyncio.events", "tqdm.std", "yaml.loader", "torch.functional", "testbed.nodes.program")
    flags = (
        "import sys; from importlib.util import cache_from_source, find_spec\n"
        "for name in sys.argv[1:]:\n"
        "    with open(cache_from_source(find_spec(name).origin), 'rb') as file: print(*file.read(8)[4:])"
    )
    said = said_by_python(container_engine, node_images[f"drafter{images.WITH_TORCH}"].digest, "-c", flags, *modules)
    assert said.splitlines() == ["1 0 0 0"] * len(modules)  # PEP 552: a hash, unchecked


def test_an_image_has_the_library_files_of_processes(container_engine, node_images):
    assert_libraries_are_those_of_processes(container_engine, node_images[f"verifier{images.WITH_TORCH}"].digest)


def test_containers_wait_with_a_loopback_and_nothing_else(container_engine, node_images, journal):
    with ContainerNodes(container_engine, journal, wanted(journal, node_images, "a", "b")) as nodes:
        assert set(nodes.pids) == {"a", "b"}
        for pid in nodes.pids.values():
            shown = subprocess.run(enter(pid, ["ip", "-o", "link"]), capture_output=True, text=True, check=True).stdout
            assert [line.split(": ")[1] for line in shown.splitlines()] == ["lo"]


def test_a_container_ends_when_its_control_channel_closes(container_engine, node_images, journal):
    with ContainerNodes(container_engine, journal, wanted(journal, node_images, "a")) as nodes:
        program = nodes.programs["a"]
        assert program.status() is None
        program.close()
        assert program.wait(20.0)
        assert program.status() == 0


def test_exit_status_and_log_of_a_container_are_kept(container_engine, node_images, journal, tmp_path):
    with ContainerNodes(container_engine, journal, wanted(journal, node_images, "a")) as nodes:
        program = nodes.programs["a"]
        program.send(b"this is not a configuration\n")
        assert program.wait(30.0)
        nodes.note_exits()
        program.save_log(tmp_path / "a.log")
        assert nodes.facts()["exit_status"] == {"a": 1}
        assert "DecodeError" in (tmp_path / "a.log").read_text()


def test_leaving_the_context_leaves_no_container(container_engine, node_images, journal):
    before = names_of(container_engine)
    with ContainerNodes(container_engine, journal, wanted(journal, node_images, "a", "b")):
        assert len(names_of(container_engine)) == len(before) + 2
    assert names_of(container_engine) == before
    journal.undo(remove_named)
    assert [path.name for path in journal.path.parent.iterdir()] == [journal.path.name]


def test_a_crashed_runs_containers_are_cleaned_and_only_those(container_engine, node_images, journal, monkeypatch):
    nodes = ContainerNodes(container_engine, journal, wanted(journal, node_images, "a", "b"))
    nodes.__enter__()
    run = journal.path.parent.name
    other = f"wan-testbed-{run}-c"  # named like ours, and not journalled
    made = container_engine.api.create_container(node_images["drafter"].digest, name=other, network_disabled=True)
    try:
        monkeypatch.setattr("testbed.system.cleaning.is_live", lambda entries: False)  # as after kill -9
        journal._file.close()  # and its lock with it
        said, _ = clean(remove_named, journal.path.parent.parent, run)
        assert sum("removed container" in line for line in said) == 2
        assert other in names_of(container_engine)
        assert not {f"wan-testbed-{run}-a", f"wan-testbed-{run}-b"} & names_of(container_engine)
    finally:
        container_engine.api.remove_container(made["Id"], force=True)


def test_a_journalled_name_that_is_somebody_elses_container_is_left_alone(container_engine, node_images):
    name = f"wan-testbed-test-{uuid.uuid4().hex[:6]}"
    made = container_engine.api.create_container(
        node_images["drafter"].digest, name=name, labels={"org.wan-testbed.run": "another"}, network_disabled=True
    )
    try:
        from testbed.containers.engine import address_of

        assert remove_named([f"{address_of(container_engine)} {name}"], "this-run") == ([], [])
        assert name in names_of(container_engine)
    finally:
        container_engine.api.remove_container(made["Id"], force=True)


def test_a_journal_outlives_an_engine_that_does_not_answer(tmp_path):
    address = f"unix://{tmp_path}/nothing.sock"
    removed, (error,) = remove_named([f"{address} wan-testbed-r-a", f"{address} wan-testbed-r-b"], "r")
    assert not removed and isinstance(error, NoEngine)
    assert str(error).startswith("containers wan-testbed-r-a, wan-testbed-r-b may still exist: ")


def test_a_gpu_that_the_engine_cannot_give_is_said_in_one_line(container_engine, node_images, journal):
    if shutil.which("nvidia-container-runtime-hook") or "nvidia" in container_engine.info().get("Runtimes", {}):
        pytest.skip("this engine has a driver for GPUs")
    before = names_of(container_engine)
    with (
        pytest.raises(MachineCannot, match="gpus of a: Docker has no GPU driver; apt-get install") as raised,
        ContainerNodes(container_engine, journal, wanted(journal, node_images, "a", limits=Limits(gpus=1))),
    ):
        pass
    assert "\n" not in str(raised.value)
    assert names_of(container_engine) == before
