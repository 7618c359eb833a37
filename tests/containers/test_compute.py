"""The `compute:` part of an experiment: units, places, and which of it needs containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.emulation import nodekind
from testbed.errors import BadInput
from testbed.experiment.compute import NodeCompute, parse_memory
from testbed.experiment.document import load_scenario

FILE = """\
name: one
topology: two-sites
workload: {prompts: prose, requests: 1, output_tokens: 4}
models: {target: tiny-target, draft: tiny-draft}
place: {user: near, target: near, drafter: {far: 2}}
policies: [speculative]
"""


def scenario(tmp_path: Path, *overrides: str):
    path = tmp_path / "one.yaml"
    path.write_text(FILE)
    return load_scenario(path, overrides)


@pytest.mark.parametrize(("text", "amount"), [("512MiB", 512 * 2**20), ("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29)])
def test_memory_has_a_unit(text, amount):
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["4", "4G", "GiB", "-1GiB", "4 gib"])
def test_memory_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="unit"):
        parse_memory(text)


def test_a_nodes_own_hardware_goes_before_its_roles(tmp_path):
    one = scenario(tmp_path, "compute={drafter: {memory: 1GiB}, drafter1: {memory: 2GiB}}")
    assert one.compute_of("drafter0").memory == "1GiB"
    assert one.compute_of("drafter1").memory == "2GiB"
    assert one.compute_of("target0") == NodeCompute()


@pytest.mark.parametrize("text", ["compute={drafter7: {}}", "compute={draftr: {accelerator: cuda}}"])
def test_hardware_of_nobody_is_refused(tmp_path, text):
    with pytest.raises(BadInput, match="no role or node"):
        scenario(tmp_path, text)


@pytest.mark.parametrize("text", ["cpus: 0..3", "memory: 4", "gpus: -1", "accelerator: tpu", "gpu_memory_fraction: 2"])
def test_what_an_engine_would_not_understand_is_refused(tmp_path, text):
    with pytest.raises(BadInput, match="compute"):
        scenario(tmp_path, f"compute={{drafter: {{{text}}}}}")


@pytest.mark.parametrize("text", ["compute={drafter: {device: cuda}}", "compute.target.device=cuda"])
def test_the_old_name_of_the_accelerator_is_refused_with_the_new_one(tmp_path, text):
    role = "drafter" if "drafter" in text else "target"
    with pytest.raises(BadInput, match=rf"^override .*: key 'device' is now called 'accelerator' in compute.{role}$"):
        scenario(tmp_path, text)


def test_auto_is_process_whatever_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(nodekind, "connect", lambda: pytest.fail("auto must not look for an engine"))
    assert nodekind.choose("auto", scenario(tmp_path)).name == "process"


def test_processes_are_refused_where_the_experiment_needs_containers(tmp_path):
    with pytest.raises(BadInput, match="which need containers"):
        nodekind.choose("process", scenario(tmp_path, "compute.target.memory=1GiB"))


def test_a_model_on_a_gpu_needs_no_container(tmp_path):
    assert not NodeCompute(accelerator="cuda", gpu_memory_fraction=0.5).needs_container
    assert nodekind.choose("auto", scenario(tmp_path, "compute.target.accelerator=cuda")).name == "process"
