"""What a policy costs, by hand on a log of a few passes; and that what has no source has no value but a reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import testbed as tb
from testbed.errors import BadInput
from testbed.experiment.prices import Prices
from testbed.models.devices import DeviceProfile, load_profile, names
from testbed.results.metrics import REGISTRY
from testbed.results.metrics.accounts import Accounts
from testbed.results.metrics.base import KEY, PolicyLog
from testbed.results.metrics.cost import missing, role_of
from testbed.results.table import render
from tests.sweep_examples import SMALL

SITES = {"user0": "near", "target0": "near", "drafter0": "far"}
PRICES: dict[str, Any] = {"source": "made up", "device_h": {"target": 3.6, "drafter": {"far": 1.8}}, "wan_gb": 10.0}


def step(request: int, node: str, model: str, ms: float, batch: int = 1) -> dict[str, Any]:
    kind, ended_ns = "draft" if model == "draft" else "verify", round(ms * 1e6)
    who = {"repeat": 0, "request": request, "node": node, "site": SITES[node], "model": model}
    return {**who, "batch": batch, "kind": kind, "started_ns": 0, "finished_ns": ended_ns}


def message(request: int, src: str, dst: str, size: int) -> dict[str, Any]:
    return {"repeat": 0, "request": request, "src": src, "dst": dst, "size_bytes": size}


# Two requests of 10 and 30 tokens: 40 in all, so a sum is times 25. Each has a pass of 20 ms of the target, request 1
# also half of one of 40 ms that it shares; drafts of 5 ms: one at the target, two at the drafter.
STEPS = [
    step(1, "target0", "target", 20), step(2, "target0", "target", 20),
    step(1, "target0", "target", 40, batch=2), step(2, "target0", "target", 40, batch=2),
    step(1, "target0", "draft", 5), step(2, "drafter0", "draft", 5), step(2, "drafter0", "draft", 5),
]  # fmt: skip
MESSAGES = [
    message(1, "user0", "target0", 1000),  # within a site
    message(1, "drafter0", "target0", 300), message(2, "target0", "drafter0", 100),
]  # fmt: skip
TARGET_S, DRAFTER_S = 0.02 + 0.02 + 0.04 + 0.005, 0.01


def log(accounts: Accounts, steps: list[dict[str, Any]] = STEPS) -> PolicyLog:
    requests = pd.DataFrame(
        [{"repeat": 0, "request": 1, "output_tokens": 10, "prompt_id": "a"},
         {"repeat": 0, "request": 2, "output_tokens": 30, "prompt_id": "b"}]
    ).set_index(KEY)  # fmt: skip
    frames = {"steps": pd.DataFrame(steps), "messages": pd.DataFrame(MESSAGES), "rounds": pd.DataFrame()}
    return PolicyLog("p", "p", requests, baseline=None, seed=1, accounts=accounts, **frames)  # type: ignore[arg-type]


def value(tag: str, of: PolicyLog) -> float | None:
    found = REGISTRY[tag].compute(of)
    return None if found is None else found["value"]


KNOWN = Accounts(SITES, {"target": 100.0, "draft": 10.0}, Prices.model_validate(PRICES))


def test_device_time_is_counted_by_site_and_role_and_a_batched_pass_once() -> None:
    found = REGISTRY["gpu_seconds_by_site"].compute(log(KNOWN))
    assert found == {
        "value": [pytest.approx(25 * DRAFTER_S), pytest.approx(25 * TARGET_S)],
        "n": [2, 5],
        "classes": ["far drafter", "near target"],
    }
    assert value("gpu_seconds", log(KNOWN)) == pytest.approx(25 * (TARGET_S + DRAFTER_S))


def test_drafts_everywhere_and_bytes_between_sites() -> None:
    drafts = REGISTRY["draft_passes"].compute(log(KNOWN))
    assert drafts is not None and (drafts["median"], drafts["n"]) == (1.5, 2)
    assert value("wan_bytes", log(KNOWN)) == pytest.approx(25 * 400)


def test_joules_are_power_by_time_and_cost_is_the_table_s() -> None:
    joules = 0.08 * 100 + 0.015 * 10
    assert value("joules", log(KNOWN)) == pytest.approx(25 * joules)
    cost = TARGET_S * 0.001 + DRAFTER_S * 0.0005 + 400 * 1e-8
    assert value("cost", log(KNOWN)) == pytest.approx(25 * cost, abs=1e-6)
    paid = Accounts(SITES, KNOWN.busy_w, Prices.model_validate({**PRICES, "kwh": 3600.0}))
    assert value("cost", log(paid)) == pytest.approx(25 * (cost + joules / 1000), abs=1e-6)
    assert list(missing(log(paid))) == []


@pytest.mark.parametrize(
    ("accounts", "undefined", "said"),
    [
        (Accounts(SITES, {"target": 100.0}), {"joules", "cost"}, ["no joules: the device profile of the drafter"]),
        (Accounts(SITES, KNOWN.busy_w), {"cost"}, []),
        (
            Accounts(SITES, KNOWN.busy_w, Prices.model_validate({**PRICES, "device_h": {"target": 3.6}})),
            {"cost"}, ["no cost: prices.device_h has no price of a drafter in far"],
        ),
        (
            Accounts(SITES, KNOWN.busy_w, Prices.model_validate({**PRICES, "wan_gb": {"near": 1.0}})),
            {"cost"}, ["no cost: prices.wan_gb has no price of far"],
        ),
        (
            Accounts(SITES, {}, Prices.model_validate({**PRICES, "kwh": 0.1})),
            {"joules", "cost"},
            ["no joules: the device profile of the target and drafter", "no cost: energy has a price"],
        ),
    ],
)  # fmt: skip
def test_what_has_no_source_has_no_value_but_a_reason(accounts: Accounts, undefined: set[str], said: list[str]) -> None:
    found = log(accounts)
    assert {tag for tag in ("joules", "cost") if value(tag, found) is None} == undefined
    lines = list(missing(found))
    assert len(lines) == len(said) and all(line.startswith(words) for line, words in zip(lines, said, strict=True))


def test_a_price_table_says_where_it_is_from_and_no_role_is_invented() -> None:
    for wrong in ({**PRICES, "source": ""}, {**PRICES, "device_h": {"gpu": 1.0}}, {**PRICES, "wan_gb": -1.0}):
        with pytest.raises(ValueError, match=r"source|device_h|wan_gb"):
            Prices.model_validate(wrong)


def test_nodes_are_named_by_role() -> None:
    assert [role_of(node) for node in ("user0", "target0", "drafter12")] == ["user", "target", "drafter"]


def test_every_shipped_power_has_a_source_and_others_have_none() -> None:
    powers = {name: load_profile(name).power for name in names()}
    assert {name.split("/")[0] for name, power in powers.items() if power is not None} == {
        "a100-80gb", "jetson-orin-nano", "l40s", "raspberry-pi-4b",
    }  # fmt: skip
    for name, power in powers.items():
        same = {other.busy_w for key, other in powers.items() if other and key.split("/")[0] == name.split("/")[0]}
        assert power is None or (power.source and same == {power.busy_w}), name


def test_a_profile_without_power_is_dumped_as_before() -> None:
    plain = DeviceProfile(name="a", device="a", model="m", kind="native", source="s")
    assert "power" not in plain.model_dump()


@pytest.mark.usefixtures("without_page")
def test_a_run_has_them_in_summary_and_table(tmp_path: Path) -> None:
    one = {key: held for key, held in SMALL.items() if key != "matrix"} | {"name": "one"}
    site = one["place"]["target"]
    run = tb.simulate(
        {**one, "prices": {**PRICES, "device_h": {"target": 3.6, "drafter": 1.8, "user": 0}}}, out=tmp_path
    )
    for metrics in run.summary["policies"].values():
        spent = metrics["gpu_seconds_by_site"]
        assert f"{site} target" in spent["classes"] and math.isclose(
            sum(spent["value"]), metrics["gpu_seconds"]["value"], rel_tol=1e-3
        )
        assert metrics["cost"]["value"] > 0
    from rich.console import Console

    paper = Console(width=80, record=True)
    paper.print(render(run.summary, run.manifest["policies"]))
    assert "per 1000 output tokens" in (text := paper.export_text()) and f"{site} target:" in text
    with pytest.raises(BadInput, match="prices"):
        tb.simulate({**one, "prices": {"wan_gb": 1.0}}, out=tmp_path)
