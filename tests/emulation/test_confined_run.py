"""What the programs of a run may do, read from the kernel while one goes on: no capability, no secret of the caller."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from testbed.system.environment import of_nodes, of_programs
from testbed.system.rights import CAPABILITIES
from testbed.system.template import NEEDS
from testbed.system.undoing import MARK
from tests.run_examples import command, experiment, workload

PROGRAMS = {
    "testbed.nodes.piped",
    "testbed.nodes.worker",
    "testbed.nodes.sharedworker",
    "testbed.network.measure.probe_process",
}
TEMPLATE = "testbed.system.template"
OF_TEMPLATE = f"{sum(1 << CAPABILITIES[name] for name in NEEDS):016x}"
WATCHED = {"testbed.network.relay.process", "testbed.network.measure.watch_process"}
SECRETS = {"HF_TOKEN": "hf_not_for_nodes", "AWS_SECRET_ACCESS_KEY": "nor-this", "CI_JOB_TOKEN": "nor-that"}


class Seen:
    """The latest that was seen of every program of a run, by module; of each of its threads."""

    def __init__(self, engine: int) -> None:
        self.engine = engine
        self.by_program: dict[str, dict[int, list[dict[str, str]]]] = {}
        self.environments: dict[int, dict[str, str]] = {}
        self.rights_of_nodes: set[str] = set()  # at any moment

    def look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                variables = (folder / "environ").read_bytes().split(b"\0")
                marked = any(one.startswith(f"{MARK}=".encode()) for one in variables)
                if not marked or not self._is_ours(int(folder.name)):
                    continue
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                if not words[0].rpartition("/")[2].startswith("python") or "-m" not in words:
                    continue  # nsenter or setpriv still, which become it
                at = words.index("-m") + 1
                name, pid = words[at + 2 if words[at] == "testbed.system.processes" else at], int(folder.name)
                threads = [_status(task / "status") for task in (folder / "task").iterdir()]
                self.by_program.setdefault(name, {})[pid] = threads
                self.environments[pid] = dict(one.decode().split("=", 1) for one in variables if b"=" in one)
                if name.startswith("testbed.nodes."):
                    self.rights_of_nodes |= {one["CapEff"] for one in threads}

    def _is_ours(self, pid: int) -> bool:
        """Another run may be going on."""
        while pid > 1 and pid != self.engine:
            pid = int(_status(Path(f"/proc/{pid}/status"))["PPid"])
        return pid == self.engine


def _status(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


@pytest.mark.shaped
@pytest.mark.slow
def test_every_program_of_a_run_is_without_capabilities_and_secrets(tmp_path):
    """Six drafting users and a target: a shared worker, and one that is a node's own."""
    path = experiment(
        tmp_path,
        workload=workload(1, 8),
        place={"user": {"near": 6}, "target": "near"},
        policies=[{"sled": {"timeout_ms": 2000.0}}],
    )
    run = command("run", path, "--fabric", "relay", "--out", tmp_path / "runs", env={**os.environ, **SECRETS})
    seen = Seen(run.pid)
    deadline = time.monotonic() + 280
    while run.poll() is None and time.monotonic() < deadline:
        seen.look()
        time.sleep(0.02)
    if run.poll() is None:
        run.terminate()
    said = run.communicate()
    assert run.returncode in (0, 3), said
    assert set(seen.by_program) >= PROGRAMS | WATCHED | {TEMPLATE}
    for name, processes in seen.by_program.items():
        for pid, threads in processes.items():
            for one in threads:
                rights = {one[which] for which in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")}
                # the template itself, or a fork that has not its own name yet
                allowed = {"0" * 16, OF_TEMPLATE} if name == TEMPLATE else {"0" * 16}
                assert rights <= allowed, f"{name} {pid}: {one}"
                assert one["NoNewPrivs"] == "1", name
            passed = set(SECRETS) & set(seen.environments[pid])
            assert not passed, f"{name} got {passed}"
            if name.startswith("testbed.nodes."):
                assert seen.environments[pid]["HF_HUB_OFFLINE"] == "1"
    assert seen.rights_of_nodes == {"0" * 16}, "a node or a worker had rights for a moment"
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            # the report's library of figures has such words of its own
            assert path.suffix == ".html" or b'"keys"' not in text
            assert not any(secret.encode() in text for secret in SECRETS.values()), path


def test_what_passes_is_listed_and_secrets_are_not_on_the_list():
    caller = {
        "PATH": "/bin", "LANG": "C", "LC_ALL": "C", "PYTHONPATH": "/x", "HF_HOME": "/hf", "OMP_NUM_THREADS": "4",
        "HF_TOKEN": "t", "HUGGING_FACE_HUB_TOKEN": "t", "HF_TOKEN_PATH": "/t", "GITHUB_TOKEN": "t",
        "SSH_AUTH_SOCK": "/s", "AWS_ACCESS_KEY_ID": "k", "PYTHON_KEYRING_PASSWORD": "p",
        "TORCH_API_TOKEN": "t", "DOCKER_HOST": "h", "X": "y",
    }  # fmt: skip
    passing = {"PATH", "LANG", "LC_ALL", "PYTHONPATH", "HF_HOME", "OMP_NUM_THREADS"}
    assert set(of_programs(caller)) == passing
    nodes = of_nodes(caller)
    assert nodes["OMP_NUM_THREADS"] == "1"
    assert nodes["HF_HUB_OFFLINE"] == "1"
    assert not {"HF_TOKEN", "AWS_ACCESS_KEY_ID"} & set(nodes)
