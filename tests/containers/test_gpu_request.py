"""A GPU asked for under `compute:`, sent through Docker, up to the program that would give it.

The engine is real and of the test's own, beside any other; NVIDIA's program is a stand-in that reads what it is told
where the real one reads it (the state on its input, the bundle's config.json), and puts a file where libraries go. That
a driver answers, and that PyTorch then finds it, only a GPU can show.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.containers import daemon, engine, images
from testbed.containers.nodes import ContainerNodes, exchange_folder
from testbed.containers.removal import remove_named
from testbed.containers.specification import Limits, Wanted
from testbed.errors import MachineCannot
from testbed.files.datafiles import PACKAGE
from testbed.system.journal import Journal

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

HOOK = "nvidia-container-runtime-hook"  # looked for by the engine as it starts
LIBRARY = "usr/lib/stand-in-for-libcuda.so.1"
STAND_IN = f"""\
#!{sys.executable}
import json, subprocess, sys
from pathlib import Path

here, state = Path(__file__).parent, json.load(sys.stdin)
config = json.loads(Path(state["bundle"], "config.json").read_text())
here.joinpath("told.json").write_text(json.dumps({{"arguments": sys.argv[1:], "process": config["process"]}}))
if (refusal := here / "refusal").exists():
    sys.exit(refusal.read_text())
place = Path(config["root"]["path"], "{LIBRARY}")
place.touch()  # to mount on, as the real one does, in the container's own mount namespace
enter = ["nsenter", "--target", str(state["pid"]), "--mount"]
subprocess.run([*enter, "mount", "--bind", __file__, str(place)], check=True)
"""


class Engine:
    """One with a stand-in for NVIDIA's program, and an image of a node program that waits for its configuration."""

    def __init__(self, client: Any, hook: Path, image: images.Image) -> None:
        self.client = client
        self.image = image
        self._told = hook.parent / "told.json"
        self._refusal = hook.parent / "refusal"

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._told.read_text())
        return found

    def environment(self) -> dict[str, str]:
        """Of the container's process, as the hook reads it."""
        return dict(one.split("=", 1) for one in self.told()["process"]["env"])

    def refuse(self, words: str) -> None:
        self._refusal.write_text(words)

    def forget(self) -> None:
        for path in (self._told, self._refusal):
            path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def engine_with_hook(container_engine: Any, node_images: dict[str, images.Image]) -> Iterator[Engine]:
    """Holds nothing but Python: the image that offline images start from, out of the other engine."""
    if shutil.which("dockerd") is None:
        pytest.skip("the engine that answers is not installed here, so no second one can be started: docker.io")
    folder = Path(tempfile.mkdtemp(prefix="wt-gpu."))  # a socket's path is short
    folder.chmod(0o755)
    hook = folder / "bin" / HOOK
    hook.parent.mkdir()
    hook.write_text(STAND_IN)
    hook.chmod(0o755)
    place = daemon.Place(folder / "run", folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{hook.parent}:{os.environ['PATH']}")
        daemon.start(place=place)
    try:
        client = engine.connect(place.socket)
        yield Engine(client, hook, _image(container_engine, client))
        client.close()
    finally:
        daemon.remove(place)
        shutil.rmtree(folder)


def _image(source: Any, target: Any) -> images.Image:
    made = source.api.create_container(images.tag("root"), command=["-"], network_disabled=True)
    try:
        packed = b"".join(source.api.export(made["Id"]))
    finally:
        source.api.remove_container(made["Id"], force=True)
    changes = [
        'ENTRYPOINT ["python3", "-m", "testbed.nodes.contained"]',
        f"ENV PYTHONPATH={PACKAGE.parent} PYTHONDONTWRITEBYTECODE=1 NVIDIA_DRIVER_CAPABILITIES=graphics",
        "USER 10001:10001",
    ]
    target.api.import_image_from_data(packed, repository="gpu-test", tag="1", changes=changes)
    shown = target.api.inspect_image("gpu-test:1")
    return images.Image("gpu-test:1", shown["Id"], "10001:10001", int(shown["Size"]), {})


@pytest.fixture
def gpus(engine_with_hook: Engine) -> Engine:
    engine_with_hook.forget()
    return engine_with_hook


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / f"t{uuid.uuid4().hex[:6]}" / "journal.jsonl")
    yield journal
    journal.undo(remove_named)
    journal.close()


def node(gpus: Engine, journal: Journal, limits: Limits) -> ContainerNodes:
    run, name = journal.path.parent.name, "drafter0"
    one = Wanted(run, name, gpus.image, exchange_folder(journal, name), mounts=(PACKAGE,), limits=limits)
    return ContainerNodes(gpus.client, journal, [one])


@pytest.mark.parametrize(
    ("asked", "visible"), [(1, "0"), (2, "0,1"), (["0", "GPU-1f3a"], "0,GPU-1f3a"), (["1"], "1")], ids=str
)
def test_the_gpus_asked_for_are_those_the_toolkit_is_told(
    gpus: Engine, journal: Journal, asked: Any, visible: str
) -> None:
    with node(gpus, journal, Limits(gpus=asked)) as nodes:
        assert nodes.programs["drafter0"].status() is None
        assert gpus.told()["arguments"] == ["prestart"]
        assert gpus.environment()["NVIDIA_VISIBLE_DEVICES"] == visible


def test_a_node_gets_cuda_and_nothing_for_screens_whatever_its_image_says(gpus: Engine, journal: Journal) -> None:
    with node(gpus, journal, Limits(gpus=1)):
        assert gpus.environment()["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
        assert not gpus.told()["process"].get("capabilities", {}).get("bounding")  # the toolkit asks how trusted it is


def test_what_the_toolkit_puts_into_a_container_is_there_though_its_root_is_read_only(
    gpus: Engine, journal: Journal
) -> None:
    with node(gpus, journal, Limits(gpus=1)) as nodes:
        root = Path(f"/proc/{nodes.pids['drafter0']}/root")
        assert (root / LIBRARY).read_text() == STAND_IN
        with pytest.raises(OSError, match="Read-only file system"):
            (root / "usr/lib/another").touch()


def test_a_node_without_gpus_is_none_of_the_toolkits_business(gpus: Engine, journal: Journal) -> None:
    with node(gpus, journal, Limits(cpus="0")), pytest.raises(FileNotFoundError):
        gpus.told()


@pytest.mark.parametrize(
    "words",
    [
        "nvidia-container-cli: initialization error: nvml error: driver not loaded",
        "nvidia-container-cli: device error: GPU-1f3a: unknown device",
    ],
)
def test_a_toolkit_that_cannot_is_said_in_one_line_and_leaves_no_container(
    gpus: Engine, journal: Journal, words: str
) -> None:
    gpus.refuse(words)
    with pytest.raises(MachineCannot) as raised, node(gpus, journal, Limits(gpus=["GPU-1f3a"])):
        pass
    assert str(raised.value) == f"compute: gpus of drafter0: {words}; nvidia-smi -L lists the available ones"
    assert gpus.client.api.containers(all=True) == []
