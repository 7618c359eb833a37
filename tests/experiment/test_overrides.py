"""One dotted key, one place: policies by label, name or place in the list."""

import pytest

from testbed.errors import BadInput
from testbed.experiment.overrides import assign


def data():
    return {
        "seed": 1,
        "devices": None,
        "policies": [
            "autoregressive",
            {"speculative": {"k": 3, "label": "sd3"}},
            {"wanspec": None},
            {"speculative": {}},
        ],
    }


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("seed", ("seed",)),
        ("devices.target", ("devices", "target")),
        ("policies.0", ("policies", 0)),
        ("policies.sd3.k", ("policies", 1, "speculative", "k")),
        ("policies.speculative.k", ("policies", 3, "speculative", "k")),
        ("policies.wanspec.phi", ("policies", 2, "wanspec", "phi")),
        ("policies.autoregressive.x", ("policies", 0, "autoregressive", "x")),
    ],
)
def test_a_key_sets_one_place_and_says_which(key, place):
    changed = data()
    assert assign(changed, key, 9, "test") == place
    at = changed
    for step in place:
        at = at[step]
    assert at == 9


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("policies.sd4.k", "no policy 'sd4' in this file; did you mean 'sd3'"),
        ("seed.x", "'x' is not an index"),
        ("policies.9", "'9' is not an index"),
    ],
)
def test_a_place_that_is_not_there_is_refused(key, complaint):
    with pytest.raises(BadInput, match=complaint):
        assign(data(), key, 9, "test")


def test_a_name_of_several_policies_needs_a_label():
    several = {"policies": [{"wanspec": {"label": "a"}}, {"wanspec": {"label": "b"}}]}
    with pytest.raises(BadInput, match="2 policies are 'wanspec'; use a label: a, b"):
        assign(several, "policies.wanspec.phi", 1, "test")
