"""Passes that vary: the law is the profile's, a draw is its key's, and a bad law is refused by place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.decoding.rng import device_seed
from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile
from testbed.models.variation import Lognormal, Variation

KNOTS = ((0.0, 0.9), (0.5, 1.0), (0.9, 1.4), (1.0, 3.0))
MEASURED = Variation(source="test", quantiles=KNOTS)
NORMAL = Variation(source="test", lognormal=Lognormal(sigma=0.25, most=2.0))
EXAMPLES = sorted(Path("workloads/devices").glob("*.yaml"))


def varying(law: Variation) -> DeviceProfile:
    return DeviceProfile(
        name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=((1, 10.0), (64, 10.0)),
        max_pass_tokens=64, varies=law,
    )  # fmt: skip


def factors(law: Variation, draws: int) -> list[float]:
    profile, seed = varying(law), device_seed(7, 0, "target0")
    return [profile.factor(seed, job, index) for job in range(draws // 4) for index in range(4)]


def test_between_knots_a_quantile_is_linear_and_the_ends_are_the_ends() -> None:
    for share, factor in KNOTS[:-1]:
        assert MEASURED.factor(share) == pytest.approx(factor)
    assert MEASURED.factor(0.7) == pytest.approx(1.2)
    assert MEASURED.factor(1 - 2**-53) == pytest.approx(3.0)


def test_a_lognormal_law_has_median_1_and_is_cut_off() -> None:
    assert NORMAL.factor(0.5) == pytest.approx(1.0)
    assert NORMAL.factor(0.8413447460685429) == pytest.approx(np.exp(0.25)), "one standard deviation above"
    assert NORMAL.factor(1 - 2**-53) == 2.0
    assert 0 < NORMAL.factor(0.0) < 0.2


@pytest.mark.parametrize("law", [MEASURED, NORMAL], ids=["quantiles", "lognormal"])
def test_draws_follow_the_law(law: Variation) -> None:
    drawn = np.array(factors(law, 20_000))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = float((drawn <= law.factor(share)).mean())
        assert below == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(drawn)))
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(len(drawn)), "draws are independent"


def test_a_draw_is_its_key_s_and_every_part_of_the_key_counts() -> None:
    profile = varying(MEASURED)
    seeds = [device_seed(*key) for key in ((7, 0, "target0"), (8, 0, "target0"), (7, 1, "target0"), (7, 0, "target1"))]
    assert len(set(seeds)) == 4
    keys = [(seed, job, index) for seed in seeds for job in (0, 1) for index in (0, 1)]
    assert len({profile.factor(*key) for key in keys}) == len(keys)
    assert [profile.factor(*key) for key in keys] == [profile.factor(*key) for key in keys]
    # another number here changes every result with passes that vary
    assert profile.factor(device_seed(7, 0, "target0"), 3, 1) == pytest.approx(GOLDEN, rel=1e-12)


GOLDEN = 1.3841206861303235


def test_a_profile_without_a_law_has_no_draws() -> None:
    assert load_profile("l40s/llama-3.1-8b").factor(1, 2, 3) == 1.0


def test_shipped_profiles_do_not_vary_and_the_examples_say_where_their_law_comes_from() -> None:
    assert load_profile("l40s/llama-3.1-8b").varies is None and load_profile("a100-80gb/qwen3-32b").varies is None
    laws = [load_profile(str(path)).varies for path in EXAMPLES]
    assert len(laws) == 2 and all(law is not None and "made up" in law.source for law in laws)


@pytest.mark.parametrize(
    ("law", "complaint"),
    [
        ({"source": "x"}, "give one law: quantiles, or lognormal"),
        ({"source": "x", "quantiles": [[0, 1], [1, 2]], "lognormal": {"sigma": 0.1}}, "give one law"),
        ({"quantiles": [[0, 1], [1, 2]]}, "source"),
        ({"source": "", "quantiles": [[0, 1], [1, 2]]}, "source"),
        ({"source": "x", "quantiles": [[0.1, 1], [1, 2]]}, "shares must ascend from 0 to 1"),
        ({"source": "x", "quantiles": [[0, 1], [0.5, 1], [0.5, 2], [1, 2]]}, "shares must ascend from 0 to 1"),
        ({"source": "x", "quantiles": [[0, 2], [1, 1]]}, "a larger share cannot have a smaller factor"),
        ({"source": "x", "quantiles": [[0, 0], [1, 1]]}, "greater than 0"),
        ({"source": "x", "lognormal": {"sigma": 0}}, "greater than 0"),
        ({"source": "x", "lognormal": {"sigma": 0.1, "most": 0.5}}, "greater than or equal to 1"),
    ],
)
def test_a_bad_law_is_refused_in_one_line(tmp_path: Path, law: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "bad.yaml"
    said = {"device": "d", "model": "m", "kind": "synthetic", "source": "s", "pass_ms": [[1, 5.0], [4096, 5.0]]}
    path.write_text(json.dumps({**said, "varies": law}))
    with pytest.raises(BadInput, match=complaint) as refused:
        load_profile(str(path))
    assert "varies" in str(refused.value) and "\n" not in str(refused.value)


def test_a_native_device_cannot_vary(tmp_path: Path) -> None:
    path = tmp_path / "native.yaml"
    path.write_text("{device: d, model: m, kind: native, source: s, varies: {source: s, lognormal: {sigma: 0.1}}}")
    with pytest.raises(BadInput, match="native device takes the time that it takes"):
        load_profile(str(path))
