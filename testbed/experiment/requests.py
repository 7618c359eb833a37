"""Which requests a run will issue: prompts to tokens, due times, seeds. Pure but for the tokenizer it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from testbed.decoding.rng import request_seed
from testbed.errors import BadInput
from testbed.experiment.load import LOADED, sent
from testbed.experiment.scenario import Scenario, Sessions
from testbed.workload.arrivals import BurstArrivals, ClosedLoopArrivals, due_times_ms, think_times_ms
from testbed.workload.load.asked import Asked
from testbed.workload.load.source import Load
from testbed.workload.made import Piece, Text, made_id
from testbed.workload.planned import PlannedRequest
from testbed.workload.prompts import PromptSet

Encode = Callable[[str], Sequence[int]]


def check_enough_prompts(scenario: Scenario, prompts: PromptSet) -> None:
    """Raises BadInput when there are fewer prompts than requests: results are paired by prompt."""
    asked, held = scenario.workload.requests, len(prompts.prompts)
    again = isinstance(scenario.workload.arrivals, ClosedLoopArrivals | BurstArrivals) or scenario.workload.sessions
    if asked > held and not again and scenario.workload.load is None:
        raise BadInput(
            f"workload.requests is {asked}, but prompt set '{prompts.name}' holds {held}; use fewer or a larger set"
        )


def plan_requests(
    scenario: Scenario,
    prompts: PromptSet,
    encode: Encode,
    eos: tuple[int, ...],
    first: int,
    repeat: int,
    load: Load | None = None,
    made: Encode | None = None,
) -> list[PlannedRequest]:
    """The requests of one phase, numbered from `first`; the same prompts, seeds and due times for every policy.

    With a load their lengths are its own; `made` gives the tokens of a prompt that was made for one, by its name, where
    `encode` cannot.
    """
    if load is not None:
        return _loaded(scenario, prompts, encode, first, repeat, load, made)
    workload = scenario.workload
    if isinstance(workload.sessions, Sessions):
        return _conversing(scenario, workload.sessions.turns, prompts, encode, eos, first, repeat, made)
    users = len(scenario.user_sites)
    due = due_times_ms(workload.arrivals, workload.requests, scenario.seed + repeat, users)
    think = think_times_ms(workload.arrivals, workload.requests, scenario.seed + repeat)
    used = prompts.prompts[: workload.requests]
    tokens = [tuple(encode(prompt.text)) for prompt in used]
    classes = workload.slo_classes
    planned = []
    for index in range(workload.requests):
        # every time round the set begins one prompt later: else users whose number shares a factor with the set's, and
        # with them whole classes of promises, would meet a few of its prompts for ever
        which = (index + index // len(used)) % len(used)
        prompt = used[which]
        # the request's own seed keys its draws, so every policy meets the same luck at the same position
        seed = request_seed(scenario.seed, which, repeat)
        planned.append(
            PlannedRequest(
                request=first + index,
                prompt_id=prompt.id,
                prompt=tokens[which],
                max_tokens=workload.output_tokens,
                sampling=workload.sampling.with_seed(seed),
                eos=() if workload.ignore_eos else eos,
                due_ms=due[index],
                slo_tokens_per_s=classes[index % users % len(classes)],
                think_ms=0.0 if index < users else think[index],
            )
        )
    return planned


def _loaded(
    scenario: Scenario,
    prompts: PromptSet,
    encode: Encode,
    first: int,
    repeat: int,
    load: Load,
    made: Encode | None,
) -> list[PlannedRequest]:
    """As the load has them. Answers are as long as they were, since no text ends them and no cap is lower."""
    workload, sites = scenario.workload, scenario.user_sites
    asked = list(islice(sent(workload, load, sites, scenario.seed + repeat), workload.requests))
    if len(asked) < workload.requests:
        raise BadInput(
            f"workload.requests is {workload.requests}, but the window of load {load.name} holds {len(asked)}; use "
            "fewer, or widen workload.window"
        )
    as_loaded = workload.arrivals == LOADED
    due = due_times_ms(workload.arrivals, len(asked), scenario.seed + repeat, len(sites))
    think = think_times_ms(workload.arrivals, len(asked), scenario.seed + repeat)
    make = Text([(one.id, tuple(encode(one.text))) for one in prompts.prompts]).tokens if made is None else made
    classes = workload.slo_classes
    if workload.sessions is not None and not any(one.text for _, _, one in asked):
        raise BadInput(
            f"workload.sessions: load {load.name} says nothing of sessions: no session numbers, no hashes of blocks; "
            "remove workload.sessions, or use another load"
        )
    planned = []
    begun: set[int] = set()
    for index, (at_s, user, one) in enumerate(asked):
        prompt_id = _made_for(one, index, [prompt.id for prompt in prompts.prompts], workload.sessions is not None)
        planned.append(
            PlannedRequest(
                request=first + index,
                prompt_id=prompt_id,
                prompt=tuple(make(prompt_id)),
                max_tokens=min(one.output_tokens, workload.output_tokens),
                sampling=workload.sampling.with_seed(request_seed(scenario.seed, index, repeat)),
                eos=(),
                due_ms=at_s * 1e3 if as_loaded else due[index],
                slo_tokens_per_s=classes[user % len(classes)],
                user=user,
                think_ms=think[index] if user in begun else 0.0,
            )
        )
        begun.add(user)
    return planned


def _made_for(asked: Asked, index: int, ids: Sequence[str], apart: bool) -> str:
    """The name of a request's prompt. `apart`: what the load does not say to begin alike does not."""
    if not apart:
        return made_id(Piece(ids[index % len(ids)], asked.input_tokens))
    if not asked.text:
        return made_id(Piece(ids[index % len(ids)], asked.input_tokens, 2 * index + 1))
    return made_id(*(Piece(ids[number % len(ids)], tokens, 2 * number) for number, tokens in asked.text))


def _conversing(
    scenario: Scenario,
    turns: int,
    prompts: PromptSet,
    encode: Encode,
    eos: tuple[int, ...],
    first: int,
    repeat: int,
    made: Encode | None,
) -> list[PlannedRequest]:
    """Every user has one conversation after another; a turn's text is the last one's, an answer's, and its own.

    The answer's part is text of the set that is as long as the longest answer: what a model will say is not known when
    requests are planned, and would be another text for every policy that is not lossless.
    """
    workload, count = scenario.workload, scenario.workload.requests
    users = len(scenario.user_sites)
    due = due_times_ms(workload.arrivals, count, scenario.seed + repeat, users)
    think = think_times_ms(workload.arrivals, count, scenario.seed + repeat)
    texts = [(one.id, tuple(encode(one.text))) for one in prompts.prompts]
    make = Text(texts).tokens if made is None else made
    lengths = [len(tokens) for _, tokens in texts]
    classes = workload.slo_classes
    planned: list[PlannedRequest] = []
    pieces: dict[int, list[Piece]] = {}  # of each user's conversation
    for index in range(count):
        user, own = index % users, index // users
        session, turn = (own // turns) * users + user, own % turns
        which = (session * turns + turn) % len(texts)
        if turn == 0:
            pieces[user] = [Piece(texts[which][0], lengths[which], session)]
        else:
            answer = (which + len(texts) // 2) % len(texts)
            pieces[user] += [Piece(texts[answer][0], workload.output_tokens), Piece(texts[which][0], lengths[which])]
        prompt_id = made_id(*pieces[user])
        planned.append(
            PlannedRequest(
                request=first + index,
                prompt_id=prompt_id,
                prompt=tuple(make(prompt_id)),
                max_tokens=workload.output_tokens,
                sampling=workload.sampling.with_seed(request_seed(scenario.seed, index, repeat)),
                eos=() if workload.ignore_eos else eos,
                due_ms=due[index],
                slo_tokens_per_s=classes[user % len(classes)],
                user=user,
                think_ms=0.0 if index < users else think[index],
            )
        )
    return planned
