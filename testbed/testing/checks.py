"""The properties of every policy, checked by running it: what each means, under which conditions, and what broke it.

* lossless: a request's output is that of target-only decoding, token for token (invariant 1)
* conservation: every token a user gets came out of a target pass, in order and once; messages and passes can be carried
  out; no cache outlives its request (invariants 3 and 4)
* purity: roles see no clock, no chance and no input or output (invariant 7)
* no deadlock: every request is answered and the policy comes to rest, also before the first round trip is measured
* determinism: the same events give the same commands, in the second run of one process as in the first
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from testbed.decoding.sampling import Sampling
from testbed.policies import api
from testbed.policies.faults import PolicyFault
from testbed.policies.spec import PolicySpec
from testbed.testing.cases import LIMITS, VOCABULARY, Case, cases
from testbed.testing.loop import Broken, Loop, Result
from testbed.testing.models import Job, LogitModels, hashed
from testbed.testing.purity import Watch, impure_import
from testbed.wire.messages import Tokens

LOSSLESS, CONSERVATION, PURITY, NO_DEADLOCK, DETERMINISM = PROPERTIES = (
    "lossless", "conservation", "purity", "no deadlock", "determinism"
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One property: whether it holds, in how many runs, and if not, the first counterexample in one line."""

    property: str
    holds: bool
    runs: int
    said: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"property": self.property, "holds": self.holds, "runs": self.runs, "said": self.said or None}


MOST_EVENTS = 50_000  # of one run; a case has fewer than a tenth of it


class _Watched(Loop):
    """A loop whose roles are watched while they handle events."""

    watch: Watch

    def _handle(self, node: str, event: api.Event, now: float) -> list[api.Command]:
        return self.watch(lambda: super(_Watched, self)._handle(node, event, now))


@dataclass
class _Examination:
    """What has been found so far."""

    spec: PolicySpec
    params: Any
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROPERTIES, 0))
    broken: dict[str, str] = field(default_factory=dict)
    restless: bool = False  # a run went on and on

    def breaks(self, property_: str, words: str) -> None:
        """Only the first counterexample of each property is kept."""
        self.broken.setdefault(property_, words)

    def findings(self, properties: Iterable[str]) -> tuple[Finding, ...]:
        return tuple(
            Finding(one, one not in self.broken, self.runs[one], self.broken.get(one, "")) for one in properties
        )

    def loop(self, case: Case, kind: type[Loop] = Loop) -> Loop:
        return kind(
            self.spec,
            self.params,
            case.models(),
            rtt_ms=case.rtt_ms,
            jitter=lambda serial: case.jitter_ms * hashed("jitter", serial) ** 4,
            t_draft_ms=case.t_draft_ms,
            drafters=case.drafters,
            users=case.users,
            far="drafter" if "drafter" in self.spec.roles else "user",
            limits=LIMITS,
            link_samples=case.link_samples,
            max_events=MOST_EVENTS,
        )

    def ran(self, case: Case) -> Result | None:
        """One run; None where it did not come to its end, which is noted."""
        for property_ in (LOSSLESS, CONSERVATION, NO_DEADLOCK):
            self.runs[property_] += 1
        try:
            return self.loop(case).run(case.jobs())
        except PolicyFault as fault:
            self.breaks(NO_DEADLOCK, f"{fault} ({case.said()})")
        except Broken as broken:
            self.restless = self.restless or broken.property_ == NO_DEADLOCK
            self.breaks(broken.property_, f"{broken} ({case.said()})")
        return None


def examine(
    spec: PolicySpec, params: Mapping[str, Any] | None = None, properties: Sequence[str] = PROPERTIES
) -> tuple[Finding, ...]:
    """Runs the policy under every condition and says of each property whether it holds.

    `params`: the policy's own parameters, by name; those not given have their defaults. Raises BadInput for parameters
    that the policy refuses.
    """
    one = _Examination(spec, spec.parse(params or {}))
    for case in cases():
        result = one.ran(case)
        if result is None and one.restless:
            break  # each further case would take as long to say the same
        if result is not None:
            _judge(one, case, result)
    if PURITY in properties and (said := impure_import(spec)) is not None:
        one.breaks(PURITY, said)
    for property_, look in ((LOSSLESS, _sampled), (PURITY, _pure), (DETERMINISM, _repeats)):
        if property_ in properties and not one.restless:
            look(one)
    return one.findings(properties)


def check(
    spec: PolicySpec, params: Mapping[str, Any] | None = None, properties: Sequence[str] = PROPERTIES
) -> tuple[Finding, ...]:
    """As `examine`, and raises `Broken`, in one line per property, where one does not hold."""
    findings = examine(spec, params, properties)
    broken = [one for one in findings if not one.holds]
    if broken:
        words = "; ".join(f"{one.property}: {one.said}" for one in broken)
        raise Broken(broken[0].property, f"policy {spec.name}: {words}")
    return findings


def check_lossless(spec: PolicySpec, params: Mapping[str, Any] | None = None) -> Finding:
    """Raises `Broken` unless every output equals target-only decoding, greedy and, with drafts not drawn, sampled."""
    (finding,) = check(spec, params, (LOSSLESS,))
    return finding


def _judge(one: _Examination, case: Case, result: Result) -> None:
    """What the run of one case says about the properties."""
    models, jobs = case.models(), case.jobs()
    late = [job.request for job in jobs if job.request not in result.finished_ms]
    if late:
        one.breaks(NO_DEADLOCK, f"request {late[0]} is never answered: nothing is in flight or due ({case.said()})")
    for job in jobs:
        if job.request in late:
            continue
        got, expected = tuple(result.outputs[job.request]), models.reference(job)
        if got != expected:
            at = next((i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), None)
            where = f"token {at}" if at is not None else f"length {len(got)} in place of {len(expected)}"
            one.breaks(LOSSLESS, f"request {job.request} differs from target-only decoding at {where} ({case.said()})")
        if (wrong := _unconserved(job, result)) is not None:
            one.breaks(CONSERVATION, f"request {job.request}: {wrong} ({case.said()})")
    if not late and result.open_caches:
        one.breaks(
            CONSERVATION, f"{result.open_caches} caches outlive their requests: Finish is missing ({case.said()})"
        )


def _unconserved(job: Job, result: Result) -> str | None:
    """What was lost or invented between the target's device, the wire and the user; None when nothing was."""
    rounds = [each for each in result.passes if each.kind == "verify" and each.request == job.request]
    output, produced = len(result.outputs[job.request]), sum(each.emitted for each in rounds)
    if output > produced:
        return f"the user got {output} tokens, target passes gave {produced}"
    if rounds and produced - output > rounds[-1].accepted:
        return f"target passes gave {produced} tokens, the user got {output}: more than the last round was cut"
    messages = [one for _, _, one in result.sent if isinstance(one, Tokens) and one.request == job.request]
    if sum(len(message.tokens) for message in messages) != output:
        return "the user's output is not what was sent to it"
    at = len(job.prompt)
    for message in messages:
        if message.position != at:
            return f"an answer starts at position {message.position}, the one before it ended at {at}"
        at += len(message.tokens)
    finals = [message.final for message in messages]
    if messages and finals != [False] * (len(finals) - 1) + [True]:
        return "the last answer, and only it, must be final"
    return None


def _logits(model: str, context: tuple[int, ...]) -> Any:
    seed = [model == "draft", len(context), *context[-3:]]
    return np.random.default_rng(seed).normal(scale=1.2, size=VOCABULARY).astype(np.float32)


class _DrawsDrafts(Loop):
    """Notes whether drafts are drawn: then the output keeps the target's law, and is another text."""

    drawn = False

    def _do(self, node: str, command: api.Command, now: float) -> None:
        jobs = command.members if isinstance(command, api.DraftBatch | api.VerifyBatch) else (command,)
        if any(isinstance(one, api.DraftTree | api.VerifyTree) for one in jobs):
            raise NotImplementedError  # of single sequences only: `LogitModels` knows no trees
        self.drawn = self.drawn or any(isinstance(one, api.Draft) and one.sampled for one in jobs)
        super()._do(node, command, now)


def _sampled(one: _Examination) -> None:
    """Sampled requests, coupled by their seed to target-only decoding."""
    from testbed.decoding.verify import choose

    for temperature in (0.7, 1.2):
        sampling = Sampling(temperature, seed=11)
        jobs = [Job(number, (number, 1), 12, sampling=sampling, at_ms=2.0 * number) for number in range(4)]
        loop = one.loop(Case(), _DrawsDrafts)
        loop.models = LogitModels(_logits)
        try:
            result = loop.run(jobs)
        except NotImplementedError:
            return
        except (PolicyFault, Broken) as error:
            one.breaks(NO_DEADLOCK, f"{error} (temperature {temperature})")
            return
        if loop.drawn:  # type: ignore[attr-defined]
            return
        one.runs[LOSSLESS] += 1
        for job in jobs:
            tokens = list(job.prompt)
            for position in range(len(tokens), len(tokens) + job.max_tokens):
                tokens.append(choose(_logits("target", tuple(tokens)), sampling, job.request, position))
            if result.outputs[job.request] != tokens[len(job.prompt) :]:
                words = f"request {job.request} differs from target-only sampling with its seed"
                one.breaks(LOSSLESS, f"{words} (temperature {temperature})")


def _pure(one: _Examination) -> None:
    for case in (Case(seed=1), Case(seed=2, users=2, drafters=2, slo_tokens_per_s=4.0)):
        _quietly(one.loop(case), case)  # whatever is imported when first used, is now
        loop = one.loop(case, _Watched)
        assert isinstance(loop, _Watched)
        loop.watch = Watch()
        _quietly(loop, case)
        one.runs[PURITY] += 1
        if loop.watch.found is not None:
            one.breaks(PURITY, loop.watch.found)


def _repeats(one: _Examination) -> None:
    for case in (Case(seed=3, rtt_ms=15.0), Case(seed=4, jitter_ms=30.0, users=2, drafters=2), Case(seed=5, ends=True)):
        runs = [_quietly(one.loop(case), case) for _ in range(3)]
        one.runs[DETERMINISM] += 1
        first = runs[0]
        if any(_told(first) != _told(other) for other in runs[1:]):
            one.breaks(DETERMINISM, f"a run again gives other messages, passes or times ({case.said()})")


def _told(result: Result | None) -> object:
    """All that a run's commands led to."""
    if result is None:
        return None
    return list(map(repr, result.sent)), result.passes, result.finished_ms, dict(result.outputs)


def _quietly(loop: Loop, case: Case) -> Result | None:
    """None where it breaks another property, which is noted elsewhere."""
    try:
        return loop.run(case.jobs())
    except (PolicyFault, Broken):
        return None
