"""What a node's container is given, and above all what it is not: read from the request to the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.containers.engine import load_sdk
from testbed.containers.images import Image
from testbed.containers.nodes import _engine_words
from testbed.containers.specification import (
    FILE_BYTES,
    MEMORY_BYTES,
    TMP_BYTES,
    Limits,
    Wanted,
    container_config,
    host_config,
)
from testbed.errors import MachineCannot
from testbed.experiment.compute import NodeCompute

IMAGE = Image("wan-testbed/drafter:1", "sha256:abc", "10001:10001", 1, {})


def wanted(**changes):
    return Wanted(**{"run_id": "r1", "node": "drafter0", "image": IMAGE, "exchange": Path("/x"), **changes})


def test_nothing_but_the_experiments_link_reaches_a_node():
    assert host_config(wanted())["NetworkMode"] == "none"
    assert container_config(wanted())["NetworkDisabled"]


def test_a_node_has_no_capability_and_cannot_gain_one():
    config = host_config(wanted())
    assert config["CapDrop"] == ["ALL"] and config["SecurityOpt"] == ["no-new-privileges"]
    assert "CapAdd" not in config and "Privileged" not in config


def test_a_node_can_write_to_its_exchange_folder_and_nowhere_else():
    config = host_config(wanted(mounts=(Path("/models/a"),)))
    assert config["ReadonlyRootfs"]
    assert {one["Target"] for one in config["Mounts"] if not one["ReadOnly"]} == {"/node"}


def test_the_image_is_named_by_digest_so_a_tag_moved_meanwhile_changes_nothing():
    assert container_config(wanted())["Image"] == IMAGE.digest


def test_the_run_and_node_stand_in_labels_and_name():
    config = container_config(wanted())
    assert config["Labels"] == {"org.wan-testbed.run": "r1", "org.wan-testbed.node": "drafter0"}
    assert wanted().name == "wan-testbed-r1-drafter0"


def test_a_folder_inside_a_mounted_folder_is_mounted_once():
    config = host_config(wanted(mounts=(Path("/m"), Path("/m/target"), Path("/models"))))
    assert [one["Source"] for one in config["Mounts"]] == ["/x", "/m", "/models"]


def test_limits_are_those_of_the_experiment_and_swap_does_not_stretch_them():
    config = host_config(wanted(limits=Limits(cpus="0-1", memory_bytes=2 * 2**30)))
    assert config["CpusetCpus"] == "0-1"
    assert config["Memory"] == config["MemorySwap"] == 2 * 2**30


def test_without_limits_memory_is_bounded_by_what_its_models_need():
    config = host_config(wanted(weights_bytes=2**30))
    assert not {"CpusetCpus", "DeviceRequests"} & set(config)
    assert config["Memory"] == config["MemorySwap"] == MEMORY_BYTES + 4 * 2**30


def test_what_a_node_may_write_is_bounded():
    assert host_config(wanted())["Tmpfs"] == {"/tmp": f"rw,nosuid,nodev,mode=1777,size={TMP_BYTES}"}
    own = host_config(wanted(limits=Limits(tmp_bytes=2**30)))
    assert own["Tmpfs"]["/tmp"].endswith(f"size={2**30}")
    limits = {one["Name"]: (one["Soft"], one["Hard"]) for one in own["Ulimits"]}
    assert limits == {"fsize": (FILE_BYTES, FILE_BYTES), "core": (0, 0)}
    assert NodeCompute(tmp="1GiB").needs_container


@pytest.mark.parametrize(("gpus", "asked"), [(2, {"Count": 2}), (["0", "GPU-1f"], {"DeviceIDs": ["0", "GPU-1f"]})])
def test_gpus_are_device_requests_by_number_or_by_name(gpus, asked):
    (request,) = host_config(wanted(limits=Limits(gpus=gpus)))["DeviceRequests"]
    assert request["Capabilities"] == [["gpu", "compute", "utility"]]
    assert asked.items() <= request.items()


def refused(words: str, limits: Limits) -> str:
    """What is said when the engine answers a start with these words."""
    error = load_sdk().errors.APIError("500 Server Error", explanation=words)
    with pytest.raises(MachineCannot) as raised, _engine_words(wanted(limits=limits)):
        raise error
    return str(raised.value)


def test_a_gpu_that_the_engine_lists_by_itself_and_lacks_is_named():
    """Newer engines may do without the toolkit's hook (CDI); in the words of theirs."""
    words = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7"
    said = refused(words, Limits(gpus=["7"]))
    assert said.startswith("compute: gpus of drafter0: ") and words in said and "nvidia-smi -L" in said


def test_what_has_nothing_to_do_with_gpus_is_not_blamed_on_them():
    said = refused("Requested CPUs are not available", Limits(gpus=1, cpus="99"))
    assert "gpus" not in said and "drafter0" in said


def test_no_health_check_of_the_engine_disturbs_a_run():
    """Beats on the control channel say the same."""
    assert container_config(wanted())["Healthcheck"] == {"Test": ["NONE"]}
