"""Which requests a run will issue: prompts to tokens, due times, seeds. Pure but for the tokenizer it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed.decoding.rng import request_seed
from testbed.errors import BadInput
from testbed.experiment.scenario import Scenario
from testbed.workload.arrivals import BurstArrivals, ClosedLoopArrivals, due_times_ms
from testbed.workload.planned import PlannedRequest
from testbed.workload.prompts import PromptSet


def check_enough_prompts(scenario: Scenario, prompts: PromptSet) -> None:
    """Raises BadInput when there are fewer prompts than requests: results are paired by prompt."""
    asked, held = scenario.workload.requests, len(prompts.prompts)
    if asked > held and not isinstance(scenario.workload.arrivals, ClosedLoopArrivals | BurstArrivals):
        raise BadInput(
            f"workload.requests is {asked}, but prompt set '{prompts.name}' holds {held}; use fewer or a larger set"
        )


def plan_requests(
    scenario: Scenario,
    prompts: PromptSet,
    encode: Callable[[str], Sequence[int]],
    eos: tuple[int, ...],
    first: int,
    repeat: int,
) -> list[PlannedRequest]:
    """The requests of one phase, numbered from `first`; the same prompts, seeds and due times for every policy."""
    workload = scenario.workload
    users = sum(role == "user" for role, _ in scenario.place.nodes().values())
    due = due_times_ms(workload.arrivals, workload.requests, scenario.seed + repeat, users)
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
            )
        )
    return planned
