"""Provenance: facts under their names, none that names the machine, and unknown is None."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

from testbed.results.manifest import FACTS, MOMENTS, gather, steal_share


def test_facts_are_json_and_do_not_name_the_machine() -> None:
    text = json.dumps(gather(FACTS))
    assert platform.node() not in text or len(platform.node()) < 4
    assert "hostname" not in text
    assert os.getcwd() not in text  # noqa: PTH109


def test_the_list_can_be_extended_by_one_function() -> None:
    def colour_of_the_cable() -> str:
        return "blue"

    assert gather([*FACTS, colour_of_the_cable])["colour_of_the_cable"] == "blue"


def test_facts_are_gathered_without_importing_torch() -> None:
    code = "import sys; from testbed.results.manifest import gather; gather(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_steal_is_the_share_between_two_moments_and_none_when_unknown() -> None:
    before, after = {"cpu_ticks": {"total": 100, "steal": 1}}, {"cpu_ticks": {"total": 300, "steal": 11}}
    assert steal_share(before, after) == 0.05
    assert steal_share(before, before) is None
    assert steal_share({}, after) is None
    assert set(gather(MOMENTS)) == {"load_average", "cpu_ticks"}
