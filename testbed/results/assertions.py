"""What a run must have found: `wanspec.latency_ratio < 1.0 (95 %)`, read before the run and judged by its summary.

    assertion: [LABEL.]METRIC[.p95] OPERATOR NUMBER [(95 %)]

OPERATOR is one of < <= > >=; a label with spaces or dots may stand in double quotes. With `(95 %)` the whole 95 %
interval must satisfy it, else the value alone. Without a label it is asked of every policy that has the metric; what
compares with co-located speculation is not asked of that, nor of autoregressive decoding. Rule kept: what can be wrong
with an assertion is said before anything runs, and what cannot be judged has failed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from testbed.errors import BadInput
from testbed.files.yamlfile import nearest
from testbed.results.metrics import BASELINE, REGISTRY
from testbed.results.metrics.base import Statistic

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
LEVEL = 95.0  # of the intervals that a summary has
P95 = "p95"
YARDSTICKS = (BASELINE, "autoregressive")  # policies that offload nothing
EXAMPLE = "write it as in 'wanspec.latency_ratio < 1.0 (95 %)'"
_FORM = re.compile(
    r"""\s* (?: (?: "(?P<quoted>[^"]+)" | (?P<plain>[^\s"<>=]+?) ) \. )?
        (?P<metric>(?!(?:median|value|p95)\b)[A-Za-z_]\w*) (?: \. (?P<statistic>median|value|p95) )? \s*
        (?P<operator><=|>=|<|>) \s* (?P<number>[-+]?[\d.]+(?:[eE][-+]?\d+)?) \s*
        (?: \( \s* (?P<level>[\d.]+) \s* % \s* \) )? \s*""",
    re.VERBOSE,
)


class Entry(NamedTuple):
    """A policy of the experiment, as far as an assertion asks."""

    label: str
    name: str


class Judgement(NamedTuple):
    """One assertion about one policy. `holds` is None where the run is not valid, so nothing may be concluded."""

    assertion: str
    policy: str
    metric: str
    holds: bool | None
    found: str


@dataclass(frozen=True)
class Assertion:
    text: str
    label: str | None
    metric: str
    tail: bool  # the 95th percentile instead of the median
    operator: str
    limit: float
    by_interval: bool

    def about(self, policies: Sequence[Entry]) -> list[str]:
        """The labels it is asked of. Raises BadInput where the experiment has none."""
        if self.label is not None:
            labels = [one.label for one in policies]
            if self.label not in labels:
                raise BadInput(f"--assert {self.text!r}: no policy {self.label!r}{nearest(self.label, labels)}")
        if not REGISTRY[self.metric].against_baseline:
            return [one.label for one in policies if self.label in (None, one.label)]
        if all(one.name != BASELINE for one in policies):
            raise BadInput(
                f"--assert {self.text!r}: {self.metric} compares with the policy {BASELINE}, which the experiment "
                "does not have; add it to policies"
            )
        if self.label is not None:
            return [self.label]
        found = [one.label for one in policies if one.name not in YARDSTICKS]
        if not found:
            raise BadInput(
                f"--assert {self.text!r}: no policy but {' and '.join(YARDSTICKS)} is in the experiment; write the "
                f"label of the one that is meant, as in '{policies[0].label}.{self.metric}'"
            )
        return found

    def judge(self, policy: str, statistic: Statistic | None) -> Judgement | None:
        """None: it is asked of every policy that has the metric, and this one has not."""
        if statistic is None:
            return None if self.label is None else self._judgement(policy, False, "undefined for this policy")
        if self.tail:
            value, interval = statistic.get(P95), None
        else:
            value, interval = statistic.get("median", statistic.get("value")), statistic.get("ci95")
        if value is None:
            return self._judgement(policy, False, "undefined")
        unit = f" {unit}" if (unit := REGISTRY[self.metric].unit) else ""
        compare = OPERATORS[self.operator]
        if not self.by_interval:
            return self._judgement(policy, compare(value, self.limit), f"{value:g}{unit}")
        if interval is None:
            return self._judgement(policy, False, f"{value:g}{unit}, without an interval: too few prompts")
        holds = all(compare(end, self.limit) for end in interval)
        return self._judgement(policy, holds, f"{value:g} [{interval[0]:g}, {interval[1]:g}]{unit}")

    def _judgement(self, policy: str, holds: bool | None, found: str) -> Judgement:
        return Judgement(self.text, policy, self.metric, holds, found)


def parse(text: str) -> Assertion:
    """Raises BadInput, in one line that says which part is wrong."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise BadInput(f"--assert {text!r}: {_what_is_wrong(text)}")
    metric = form["metric"]
    if metric not in REGISTRY:
        raise BadInput(f"--assert {text!r}: no metric {metric!r}{nearest(metric, REGISTRY)}")
    shape = REGISTRY[metric].shape
    if shape == "list":
        raise BadInput(f"--assert {text!r}: {metric} is a list, not one number; testbed metrics list shows the others")
    tail = form["statistic"] == P95
    if tail and shape != "samples":
        raise BadInput(f"--assert {text!r}: {metric} is one value and has no p95; leave .p95 out")
    limit, level = _number(text, form["number"]), form["level"]
    by_interval = level is not None
    if by_interval and _number(text, level) != LEVEL:
        raise BadInput(f"--assert {text!r}: intervals are those of {LEVEL:g} %; write ({LEVEL:g} %)")
    if by_interval and tail:
        raise BadInput(f"--assert {text!r}: p95 has no interval; leave ({LEVEL:g} %) out, or .p95")
    label = form["quoted"] or form["plain"]
    return Assertion(text.strip(), label, metric, tail, form["operator"], limit, by_interval)


def parse_all(texts: Sequence[str], policies: Sequence[Entry]) -> list[Assertion]:
    """All of them, fit for an experiment with these policies. Raises BadInput."""
    found = [parse(text) for text in texts]
    for one in found:
        one.about(policies)
    return found


def judge(assertions: Sequence[Assertion], summary: Mapping[str, Any], policies: Sequence[Entry]) -> list[Judgement]:
    """By `summary.json`; one or more for each assertion."""
    return [found for one in assertions for found in _judged(one, summary, policies)]


def failed(judgements: Sequence[Judgement]) -> list[Judgement]:
    return [one for one in judgements if one.holds is False]


def sentence(one: Judgement) -> str:
    """For people, on one line."""
    words = {True: "holds", False: "FAILS", None: "not judged"}[one.holds]
    return f"{words}: {one.assertion}   {one.policy}: {one.found}"


def _judged(one: Assertion, summary: Mapping[str, Any], policies: Sequence[Entry]) -> Iterator[Judgement]:
    valid = bool(summary["validity"]["valid"])
    metrics = summary["policies"]
    judged = [found for label in one.about(policies) if (found := one.judge(label, metrics[label].get(one.metric)))]
    if not judged:
        judged = [Judgement(one.text, "every policy", one.metric, False, "undefined for every policy")]
    for found in judged:
        yield found if valid else found._replace(holds=None, found=f"{found.found}; the run is not valid")


def _number(text: str, digits: str) -> float:
    try:
        return float(digits)
    except ValueError:
        raise BadInput(f"--assert {text!r}: {digits!r} is not a number") from None


def _what_is_wrong(text: str) -> str:
    if not any(sign in text for sign in "<>"):
        return f"no <, <=, > or >=; {EXAMPLE}"
    after = re.split("[<>]=?", text, maxsplit=1)[1].strip()
    if not re.match(r"[-+]?[\d.]", after):
        return f"no number after the operator; {EXAMPLE}"
    if re.fullmatch(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*(?:\(\s*[\d.]+\s*%\s*\))?", after) is None:
        return f"{after!r} is not a number, or one with (95 %) behind it; {EXAMPLE}"
    return f"cannot read what stands before the operator; {EXAMPLE}"
