"""The answer of a run, before any table: what was checked, in one sentence what was found, each policy against one.

Rule: the base of every ratio is named; a difference that its interval does not show is not claimed. Numbers are those
of `summary.json` where it has them; per prompt they come from the log in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.results.metrics import BASELINE, REGISTRY, PolicyLog
from testbed.results.metrics.base import Statistic
from testbed.results.metrics.offload import by_prompt
from testbed.results.recorded import recorded_compute
from testbed.results.reference import Reference
from testbed.results.statistics import FEWEST_PROMPTS
from testbed.results.summary import RECORDED
from testbed.results.validity import LIMITS

MOST_NAMED = 3  # policies in the sentence


@dataclass(frozen=True)
class Check:
    """Something that was measured to judge the run: `found` of `allowed`, and where the page shows it."""

    name: str
    found: str
    allowed: str
    anchor: str


@dataclass(frozen=True)
class Against:
    """One policy against the base, paired by prompt: ratios with their intervals, and each prompt's own."""

    label: str
    latency: Statistic | None
    drafts: Statistic | None
    prompts: tuple[tuple[str, float, float | None], ...]  # prompt, latency ratio, draft ratio


@dataclass(frozen=True)
class Answer:
    base: str
    sentences: tuple[str, ...]
    against: tuple[Against, ...]


def checks(summary: Mapping[str, Any]) -> list[Check]:
    """In the order in which a sceptic asks; a check that this engine has no use for is left out."""
    found = []
    lossless = summary["lossless"]
    if lossless["checked"] and lossless.get("kind") != RECORDED:
        found.append(Check("lossless", f"{lossless['equal']} of {lossless['checked']} outputs", "all", "trust"))
    if summary["engine"] != "emulation":
        return found
    links, compute = summary["links"], summary["compute"]
    if (worst := links["worst_median_error_ms"]) is not None:
        allowed = f"{LIMITS.link_median_error_ms:g} ms or {LIMITS.link_median_error_share:.0%}"
        found.append(Check("links, worst median", f"{worst:.2f} ms off", allowed, "links"))
        tail = f"{links['p99_error_ms']:.2f} ms off"
        found.append(Check("links, 99th percentile", tail, f"{LIMITS.link_p99_error_ms:g} ms", "links"))
    if (share := compute["overrun_share"]) is not None:
        name = "answers handed on late" if recorded_compute(summary) else "passes late"
        late = f"{compute['overruns']} of {compute['steps']} ({share:.2%})"
        found.append(Check(name, late, f"{LIMITS.overrun_step_share:.0%}", "trust"))
    if clock := summary.get("clock"):
        found.append(Check("clock held", f"{clock['held_share']:.1%} of the time", "", "trust"))
    return found


def answer(
    logs: Mapping[str, PolicyLog], summary: Mapping[str, Any], references: Mapping[str, Reference | None]
) -> Answer | None:
    """None where nothing finished. The base is co-located speculation, or else the first policy that finished."""
    if not logs:
        return None
    speculative = [label for label, log in logs.items() if log.name == BASELINE]
    base = (speculative or list(logs))[0]
    against = tuple(_against(replace(log, baseline=logs[base])) for label, log in logs.items() if label != base)
    against = tuple(one for one in against if one.latency is not None)
    served = {label: summary["policies"][label] for label in logs if summary["policies"][label]["token_goodput"]}
    sentences = _goodput(served) if served else []
    if not served or len(sentences) < 2:
        sentences += _ratios(base, against, references)
    if not sentences:
        sentences = _alone(base, summary["policies"][base])
    return Answer(base, tuple(sentences), against)


def _against(log: PolicyLog) -> Against:
    prompts = by_prompt(log)
    assert prompts is not None
    told = []
    for prompt, latency, drafts in zip(
        prompts.index, prompts["latency_ratio"], prompts["target_site_draft_ratio"], strict=True
    ):
        if latency == latency:  # not NaN
            told.append((str(prompt), float(latency), float(drafts) if drafts == drafts else None))
    drafted = None
    if not log.drafts.empty:  # a policy that never drafts leaves nothing to offload
        drafted = REGISTRY["target_site_draft_ratio"].compute(log)
    return Against(log.label, REGISTRY["latency_ratio"].compute(log), drafted, tuple(told))


def _ratios(base: str, against: Sequence[Against], references: Mapping[str, Reference | None]) -> list[str]:
    """The drafting policies first, since they are what a run is about."""
    chosen = sorted(against, key=lambda one: one.drafts is None)[:MOST_NAMED]
    told = []
    for one in chosen:
        words = [_latency(one.latency)]
        if one.drafts is not None:
            words.append(_drafts(one.drafts))
        if (paper := references.get(one.label)) is not None:
            words.append(f"the paper, {paper.setting}: {paper.statement}")
        told.append(f"{one.label} against {base}: {'; '.join(words)}.")
    left = len(against) - len(chosen)
    if left > 0:
        told.append(f"{left} more {'policy is' if left == 1 else 'policies are'} in the figure.")
    return told


def _latency(ratio: Statistic | None) -> str:
    assert ratio is not None
    value, ends = ratio["median"], ratio["ci95"]
    prompts = f"over {ratio['n']} prompt{'' if ratio['n'] == 1 else 's'}"
    if ends is None:
        return f"latency ratio {value:.2f} {prompts}, too few for an interval"
    if ends[0] <= 1 <= ends[1]:
        interval = f"95 % interval {ends[0]:.2f} to {ends[1]:.2f}"
        return f"no difference in latency shown {prompts} (ratio {value:.2f}, {interval})"
    if value < 1:
        return f"{1 - value:.1%} faster (95 % interval {1 - ends[1]:.1%} to {1 - ends[0]:.1%}) {prompts}"
    return f"{value - 1:.1%} slower (95 % interval {ends[0] - 1:.1%} to {ends[1] - 1:.1%}) {prompts}"


def _drafts(ratio: Statistic) -> str:
    value, ends = ratio["value"], ratio["ci95"]
    size = f"{abs(1 - value):.0%} {'fewer' if value <= 1 else 'more'} draft passes at the target's site"
    return size if ends is None else f"{size} (ratio {value:.2f}, {ends[0]:.2f} to {ends[1]:.2f})"


def _goodput(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Goodput, most first."""
    ranked = sorted(policies, key=lambda label: -policies[label]["token_goodput"]["value"])
    named = [
        f"{label} {policies[label]['token_goodput']['value']:.0f} tokens/s with "
        f"{policies[label]['slo_attainment']['value']:.0%} of requests within their SLO"
        for label in ranked[:MOST_NAMED]
    ]
    if len(ranked) == 1:
        return [f"Goodput: {named[0]}."]
    tail = "" if len(ranked) <= MOST_NAMED else f"; least: {ranked[-1]}"
    return [f"Most goodput: {'; then '.join(named)}{tail}.", *_no_interval(policies)]


def _no_interval(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if all(metrics["token_goodput"]["ci95"] is None for metrics in policies.values()):
        return [f"Goodput has no interval here: that takes {FEWEST_PROMPTS} repeats or more."]
    return []


def _alone(label: str, metrics: Mapping[str, Any]) -> list[str]:
    tpot = metrics["tpot_ms"]
    if tpot is None:
        return []
    return [f"{label}: {tpot['median']:.1f} ms per output token in the median over {tpot['n']} requests."]
