"""Stop rules behind one interface, and the trained ones: arithmetic checked against a plain reading of the weights."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from testbed.errors import BadInput
from testbed.policies.api import DraftReady
from testbed.policies.wisp.classifier import FORMAT, Classifier, Layer, Origin, Weights, decode, read_weights, sigmoid
from testbed.policies.wisp.features import NAMES, Features, features_of
from testbed.policies.wisp.stops import AdaEdl, Confidence, Entropy, FixedLength, Gain, Predicted, StopRule

ORIGIN = Origin("t", "d", "tiny", "00", "p", 0, 10, 10, 0.1, 0.8, 0.9)
TOKEN = Features(confidence=0.7, entropy=0.9, margin=0.5, logit_variance=4.0, position=2)


def weights(layers: tuple[Layer, ...], threshold: float = 0.5) -> Weights:
    mean, scale = (0.5, 1.0, 0.0, 2.0, 0.0), (0.5, 2.0, 1.0, 4.0, 1.0)
    return Weights(FORMAT, "mlp", NAMES, mean, scale, layers, threshold, ORIGIN)


ONE_LAYER = (Layer(((1.0, -2.0, 0.0, 0.5, 0.25),), (0.125,)),)
TWO_LAYERS = (Layer(((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, -1.0)), (0.0, 1.0)), Layer(((2.0, 3.0),), (-0.3,)))


def test_a_probability_is_what_the_weights_say() -> None:
    """Standardised: 0.4, -0.05, 0.5, 0.5, 2."""
    classifier = Classifier(weights(ONE_LAYER))
    assert classifier.probability(TOKEN) == pytest.approx(sigmoid(0.4 + 0.1 + 0.25 + 0.5 + 0.125))
    # hidden: 0.4, and max(0, 1 - 2) = 0
    assert Classifier(weights(TWO_LAYERS)).probability(TOKEN) == pytest.approx(sigmoid(2 * 0.4 - 0.3))
    first = TOKEN._replace(position=0)
    assert Classifier(weights(TWO_LAYERS)).probability(first) == pytest.approx(sigmoid(0.8 + 3.0 - 0.3))


def test_the_logistic_function_is_safe_at_both_ends() -> None:
    assert sigmoid(-1000.0) == 0.0 and sigmoid(1000.0) == 1.0 and sigmoid(0.0) == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"features": ("confidence",)}, "has features"),
        ({"mean": (0.0,)}, "do not fit together"),
        ({"scale": (0.0, 1.0, 1.0, 1.0, 1.0)}, "do not fit together"),
        ({"layers": ()}, "do not fit together"),
        ({"layers": TWO_LAYERS[:1]}, "do not fit together"),
        ({"layers": (Layer(((1.0, 2.0),), (0.0,)),)}, "do not fit together"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        decode(msgspec.json.encode(msgspec.structs.replace(weights(ONE_LAYER), **changes)), "x.json")
    assert "\n" not in str(caught.value)


def test_weights_are_read_back_as_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(msgspec.json.encode(weights(TWO_LAYERS)))
    read, sha256 = read_weights(str(file))
    assert read == weights(TWO_LAYERS) and len(sha256) == 64
    file.write_bytes(b"{}")
    with pytest.raises(BadInput, match="not a file of weights"):
        read_weights(str(file))


@pytest.mark.parametrize("name", ["tiny-prose", "tiny-prose-logistic"])
def test_shipped_weights_say_what_made_them(name: str) -> None:
    read, _ = read_weights(name)
    assert read.origin.table == "tiny-prose" and len(read.origin.table_sha256) == 64
    assert 0.75 < read.origin.recall < 0.85 and 0.0 < read.threshold < 1.0
    sure = Features(0.99, 0.05, 0.98, 8.0, 0)
    assert not Predicted(Classifier(read)).ends([sure], 1.0)
    assert Predicted(Classifier(read)).ends([Features(0.1, 3.5, 0.01, 2.0, 9)], 1.0)


def test_each_rule_looks_at_its_own_number() -> None:
    rules: list[tuple[StopRule, Features, Features]] = [
        (Confidence(0.7), TOKEN, TOKEN._replace(confidence=0.69)),
        (Entropy(0.9), TOKEN, TOKEN._replace(entropy=0.91)),
        (AdaEdl(1 - math.sqrt(0.2 * 0.9)), TOKEN, TOKEN._replace(entropy=0.91)),
        (Predicted(Classifier(weights(TWO_LAYERS)), 0.6), TOKEN, TOKEN._replace(confidence=0.4)),
    ]
    for rule, goes_on, ends in rules:
        assert not rule.ends([goes_on], 1.0) and rule.ends([ends], 1.0), rule
    assert not FixedLength().ends([TOKEN._replace(confidence=0.0, entropy=9.0)], 1.0)


def test_adaedl_asks_for_more_after_rejections_and_for_less_after_acceptance() -> None:
    """Running acceptance 0.5, then 0.75: both below 0.9, so the limit rises by 0.1 * 0.01 each; at 1.0 it falls."""
    rule = AdaEdl(0.5)
    rule.settled(4, 2, 1.0)
    assert rule.limit == pytest.approx(0.501)
    rule.settled(4, 4, 1.0)
    assert rule.limit == pytest.approx(0.502)
    for _ in range(3):
        rule.settled(4, 4, 1.0)
    assert rule.limit < 0.503
    before = rule.limit
    rule.settled(0, 0, 1.0)  # a round without drafts says nothing
    assert rule.limit == before


def test_features_are_a_token_s_own_and_positions_go_on() -> None:
    event = DraftReady(1, 1, (5, 6), (0.1, 0.2), (0.9, 0.8), 2.0, (), (0.7, 0.6), (3.0, 4.0))
    assert features_of(event, 3) == [Features(0.9, 0.1, 0.7, 3.0, 3), Features(0.8, 0.2, 0.6, 4.0, 4)]
    without = features_of(DraftReady(1, 1, (5,), (0.1,), (0.9,), 2.0), 0)[0]
    assert math.isnan(without.margin) and math.isnan(without.logit_variance)


def certain(probability: float) -> Classifier:
    """Says the same of every token."""
    rows = ((0.0,) * 5,)
    logit = math.log(probability / (1 - probability))
    return Classifier(weights((Layer(rows, (logit,)),)))


def length_of(rule: StopRule, step_ms: float) -> int:
    draft = [TOKEN]
    while not rule.ends(draft, step_ms) and len(draft) < 64:
        draft.append(TOKEN)
    return len(draft)


def test_gain_stops_where_tokens_a_second_are_greatest() -> None:
    """Against all lengths: with p for every token and q = p a round of d brings (1 - p^(d+1)) / (1 - p) tokens."""
    for p in (0.5, 0.7, 0.9):
        for wait_ms, step_ms in ((10.0, 10.0), (100.0, 10.0), (400.0, 5.0)):
            rule = Gain(certain(p))
            for _ in range(60):
                rule.settled(1000, round(1000 * p), wait_ms)
            rates = [(1 - p ** (d + 1)) / (1 - p) / (wait_ms + d * step_ms) for d in range(1, 65)]
            assert length_of(rule, step_ms) == 1 + max(range(64), key=rates.__getitem__), (p, wait_ms, step_ms)


def test_gain_drafts_the_longer_the_longer_verdicts_take() -> None:
    lengths = []
    for wait_ms in (5.0, 50.0, 500.0):
        rule = Gain(certain(0.8))
        rule.settled(10, 8, wait_ms)
        lengths.append(length_of(rule, 10.0))
    assert lengths[0] < lengths[1] < lengths[2]


def test_gain_knows_no_wait_before_the_first_verdict_and_goes_by_the_trained_threshold() -> None:
    """0.8 to the fourth is the first below the threshold of 0.5 that these weights carry."""
    assert length_of(Gain(certain(0.8)), 10.0) == 4
