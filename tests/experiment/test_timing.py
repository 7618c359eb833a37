"""`time:` of an experiment file: what is one N for everything, and what allows no other than 1."""

import pytest

from testbed.cli.shell import _network_of
from testbed.clock.held import RATE_ONE
from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.resolve import resolve
from testbed.experiment.timing import DIGITS, Time, chosen, refuse_outsiders
from testbed.sweeps.plan import load_sweep

GOOD = """\
name: demo
topology: two-sites
workload: {prompts: prose, requests: 4}
models: {target: tiny-target, draft: tiny-draft}
devices: {target: l40s/llama-3.1-8b, drafter: l40s/llama-3.2-1b}
place: {user: near, target: near, drafter: far}
policies: [autoregressive, speculative]
"""


def test_what_is_not_said_is_auto_and_auto_is_one(write):
    scenario = load_scenario(write(GOOD))
    assert scenario.time == Time(dilation="auto")
    assert scenario.time.given is None and chosen(scenario.time) == 1
    assert resolve(scenario).dilation == 1


@pytest.mark.parametrize("given", [0.25, 1, 2.5, 50])
def test_a_number_is_what_the_run_has(write, given):
    scenario = load_scenario(write(GOOD), [f"time.dilation={given}"])
    assert scenario.time.given == chosen(scenario.time) == resolve(scenario).dilation == given


@pytest.mark.parametrize("given", [0.2499, 50.001, 0, -1, ".inf", "'2'", "true", "slow", 1.0005])
def test_what_the_clock_cannot_do_is_refused_with_its_place(write, given):
    with pytest.raises(BadInput, match=r"time\.dilation"):
        load_scenario(write(GOOD), [f"time.dilation={given}"])


def test_the_clock_keeps_as_many_digits_as_may_be_written():
    assert RATE_ONE == 10**DIGITS


@pytest.mark.parametrize("key", ["target", "drafter"])
def test_native_devices_allow_no_other_than_one(write, key):
    native = f"devices.{key}=native"
    with pytest.raises(BadInput, match=rf"time\.dilation: 2 would make devices\.{key}: native look 2 times as fast"):
        load_scenario(write(GOOD), ["time.dilation=2", native])
    load_scenario(write(GOOD), ["time.dilation=1", native])
    load_scenario(write(GOOD), [native])


def test_a_native_device_that_no_policy_uses_is_no_hindrance(write):
    overrides = ["time.dilation=2", "devices.drafter=native", "policies=[autoregressive]"]
    assert load_scenario(write(GOOD), overrides).time.given == 2


def test_a_device_file_may_be_native_too(write, tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text("name: mine\ndevice: here\nmodel: any\nkind: native\nsource: not paced\n")
    scenario = load_scenario(write(GOOD), ["time.dilation=2", f"devices.target={profile}"])
    with pytest.raises(BadInput, match=r"devices\.target: native"):
        resolve(scenario)


@pytest.mark.parametrize("axis", ["time.dilation: [1, 2]", "time: [{dilation: 1}, {dilation: 2}]"])
def test_the_points_of_a_sweep_have_one(write, axis):
    with pytest.raises(BadInput, match=r"e\.yaml:\d+: matrix: 'time.*' cannot be swept"):
        load_sweep(write(f"{GOOD}matrix: {{{axis}}}\n"))
    points = load_sweep(write(f"{GOOD}time: {{dilation: 2}}\nmatrix: {{seed: [1, 2]}}\n")).points
    assert [point.scenario.time.given for point in points] == [2, 2]


@pytest.mark.parametrize("dilation", [0.5, 2])
def test_what_has_its_own_clock_is_refused(dilation):
    with pytest.raises(BadInput, match=rf"pingall would see a network {dilation:g} times as slow"):
        refuse_outsiders(dilation, "pingall")
    refuse_outsiders(1, "pingall")


def test_shell_and_pingall_refuse_a_dilated_experiment(write):
    path = write(f"{GOOD}time: {{dilation: 2}}\n")
    with pytest.raises(BadInput, match="testbed shell and testbed pingall would see a network 2 times as slow"):
        _network_of(str(path))
    assert list(_network_of(str(write(GOOD)))[1]) == ["user0", "target0", "drafter0"]
