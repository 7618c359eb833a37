"""The model of an experiment, strict, and the hash that names a run. `document` reads the file.

Every default stands here, once, with its reason. A key that would do nothing is refused, never ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.experiment.background import Tenants, misplaced
from testbed.experiment.compute import Compute, NodeCompute
from testbed.experiment.faults import Event, unknown_nodes
from testbed.experiment.load import LOADED, LoadKeys, filled, require_sites
from testbed.experiment.network import NetworkOptions
from testbed.experiment.policyentry import FileName, PolicyEntry
from testbed.experiment.prices import Prices
from testbed.experiment.routes import misfits
from testbed.experiment.timing import Time, chosen, why_undilated
from testbed.files.strict import NUMBER, REQUESTS, SHARE, TOKENS, TOKENS_PER_S, Strict, Terse, Unit
from testbed.files.yamlfile import Mistake, problem, raise_mistakes
from testbed.files.yamltext import KeyPath
from testbed.models.devices import NATIVE
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.routing.options import Routing, Rule, of
from testbed.tables.outcomes import RECORDED, Outcomes, refuse_emulation
from testbed.workload.arrivals import Arrivals, BurstArrivals, PoissonArrivals
from testbed.workload.slo import Window

MAX_NODES = 2000  # in virtual time
MAX_EMULATED_NODES = 250  # addresses of one /24, and far more than two cores can run


class SamplingOptions(Strict):
    """How the target chooses tokens; greedy unless a temperature is given."""

    temperature: Annotated[float, NUMBER, Field(ge=0, le=5)] = Field(
        default=0.0, description="sampling temperature; 0: greedy"
    )
    top_k: Annotated[int, TOKENS, Field(ge=0)] = Field(
        default=0, description="sample from this many most likely tokens; 0: from all"
    )
    top_p: Annotated[float, SHARE, Field(gt=0, le=1)] = Field(
        default=1.0, description="sample from the most likely tokens that together have this probability"
    )

    def with_seed(self, seed: int) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, seed)


SloRate = Annotated[float, TOKENS_PER_S, Field(gt=0, le=10_000)]


class Sessions(Strict):
    """Conversations: each request is the one before it, an answer in its place, and what the user says next."""

    turns: Annotated[int, REQUESTS, Field(ge=2, le=1000)] = Field(
        description="requests of a conversation; a user who has ended one begins another"
    )


class Workload(LoadKeys):
    """What the users ask for, and when."""

    quiet = (*LoadKeys.quiet, "sessions")

    prompts: str = Field(
        description="prompt set, by name (a file of workloads/prompts) or path to a .jsonl file", examples=["prose"]
    )
    requests: Annotated[int, REQUESTS, Field(ge=1, le=100_000)] = Field(
        description="requests of all users together, per policy and repeat; of a load the first ones, by default all "
        "of its window"
    )
    output_tokens: Annotated[int, TOKENS, Field(ge=1, le=131_072)] = Field(
        default=100,
        description="most output tokens of a request; the default is that of the WANSpec paper, with a load that of "
        "its longest answer",
    )
    arrivals: Arrivals = Field(
        default="sequential",
        description="when requests are sent; sequential: each user sends the next one when the previous one has ended; "
        "load: when they came in the load, the default with one",
        examples=[
            "sequential",
            {"poisson": {"rate_per_s": 0.5}},
            {"closed_loop": {"stagger_s": 5}},
            {"burst": {"rate_per_s": 1, "surges": [{"start_s": 10, "length_s": 5, "rate_per_s": 8}]}},
        ],
    )
    sampling: SamplingOptions = Field(default=SamplingOptions(), description="how the target chooses tokens")
    ignore_eos: bool = Field(default=False, description="true: requests do not stop at the end of text")
    slo_tokens_per_s: SloRate | Annotated[list[SloRate], Field(min_length=1)] | None = Field(
        default=None,
        description="SLO: token rate that users are to get, one for all, or a list that is dealt to user 0, 1, 2, ... "
        "in turn; a class listed twice has twice as many users; null: no SLO",
        examples=[8, [2, 4, 8]],
    )
    slo_window: Window = Field(
        default="after_first",
        description="what a rate is counted over by all SLO metrics of the run; after_first: (tokens - 1) / (end - "
        "first token); whole: tokens / (end - sent)",
    )

    sessions: Literal["load"] | Sessions | None = Field(
        default=None,
        description="conversations whose requests begin with the last one's text: {turns: 4}, made of the prompt set, "
        "or load: those of the load, by its session numbers or hashes of blocks; null: every request is another text",
        examples=[{"turns": 4}, "load"],
    )

    @model_validator(mode="after")
    def _conversing(self) -> Self:
        if isinstance(self.sessions, Sessions):
            if self.load is not None:
                raise problem(("sessions",), "sessions: a load brings its sessions; write `sessions: load`")
            if isinstance(self.arrivals, PoissonArrivals | BurstArrivals):
                raise problem(
                    ("sessions",),
                    "sessions: a turn comes after the answer before it; use arrivals: sequential, or {closed_loop: "
                    "{think_s: 10}}",
                )  # fmt: skip
        elif self.sessions == "load" and self.load is None:
            raise problem(("sessions",), "sessions: load needs a load; add `load: NAME`, or write {turns: 4}")
        return self

    @model_validator(mode="after")
    def _as_loaded(self) -> Self:
        if self.load is None and self.arrivals == LOADED:
            raise problem(("arrivals",), "arrivals: load needs a load; add `load: NAME`, or describe the arrivals")
        if self.load is not None and not self.ignore_eos:
            raise problem(
                ("ignore_eos",),
                "ignore_eos: a load says how long answers are, so they go on past the end of text; remove it",
            )  # fmt: skip
        return self

    @property
    def slo_classes(self) -> list[float | None]:
        """The SLO of user i is entry i, modulo the length."""
        given = self.slo_tokens_per_s
        return [*given] if isinstance(given, list) else [given]


class Models(Strict):
    """The pair: a large model whose output it is, and a small one that drafts for it."""

    target: str = Field(
        description="target model: a shipped one by name (testbed models list), a folder, or a Hugging Face name",
        examples=["tiny-target"],
    )
    draft: str = Field(description="draft model with the same tokenizer, or prompt-lookup", examples=["tiny-draft"])


class Devices(Strict):
    """The hardware that is emulated: results of forward passes are held back until it would have had them."""

    target: str = Field(
        default=NATIVE,
        description="device profile of the target, by name (one of testbed/models/profiles) or path to a .yaml file; "
        "native: passes take what they take here",
        examples=["l40s/llama-3.1-8b"],
    )
    drafter: str = Field(
        default=NATIVE,
        description="device profile of the draft model wherever it runs, at the drafter's site and at the target's",
        examples=["l40s/llama-3.2-1b"],
    )


# bounded before anything is expanded: a count of 10^12 would be as many names
Count = Annotated[int, Unit("nodes"), Field(ge=1, le=MAX_NODES)]
Sites = str | dict[str, Count] | Annotated[list[str], Field(max_length=MAX_NODES)]


class Place(Strict):
    """Where the roles run: a site, a list of sites, or how many at each site."""

    user: Sites = Field(
        description="sites of the users, which send requests",
        examples=["us-east-1", ["us-east-1", "us-east-2"], {"us-east-1": 8}],
    )
    target: Sites = Field(
        description="site of the target model, or sites of several targets, which `routing` chooses among",
        examples=["us-east-1", ["us-east-1", "eu-west-1"], {"us-east-1": 2}],
    )
    drafter: Sites | None = Field(
        default=None,
        description="sites of the drafters, for policies that have any",
        examples=["us-east-2", ["us-east-2", "us-west-2"], {"us-east-2": 3}],
    )

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        nodes = sum(_count(sites) for sites in (self.user, self.target, self.drafter))
        if nodes > MAX_NODES:
            raise problem((), f"place: {nodes} nodes exceed the limit of {MAX_NODES} per network; place fewer")
        return self

    def nodes(self) -> dict[str, tuple[str, str]]:
        """Node name to (role, site): user0, user1, target0, drafter0, in this order."""
        nodes: dict[str, tuple[str, str]] = {}
        for role in ("user", "target", "drafter"):
            for index, site in enumerate(_expand(getattr(self, role))):
                nodes[f"{role}{index}"] = (role, site)
        return nodes


def _count(sites: Sites | None) -> int:
    if sites is None:
        return 0
    return 1 if isinstance(sites, str) else sum(sites.values()) if isinstance(sites, Mapping) else len(sites)


def _user_sites(place: Any) -> list[str] | None:
    """Of a mapping that is not validated; None where it is wrong."""
    try:
        return _expand(Place.model_validate(place).user)
    except ValidationError:
        return None


def _expand(sites: Sites | None) -> list[str]:
    if sites is None:
        return []
    if isinstance(sites, str):
        return [sites]
    if isinstance(sites, Mapping):
        return [site for site, count in sites.items() for _ in range(count)]
    return list(sites)


class Scenario(Terse):
    """An experiment: what runs where, on which links, under which policies."""

    quiet = ("background", "prices", "prefix_cache")

    name: FileName = Field(
        description="names the run directory: letters, digits, '.', '_' and '-'", examples=["quickstart"]
    )
    description: str = Field(default="", description="for readers")
    topology: str = Field(
        description="topology, by name (testbed topology list), path to a .yaml file, or a Mininet Topo, FILE.py:CLASS",
        examples=["aws-north-america"],
    )
    network: NetworkOptions = Field(
        default=NetworkOptions(), description="what this experiment changes in the topology's links"
    )
    workload: Workload = Field(description="what the users ask for, and when")
    models: Models = Field(description="the pair of models")
    devices: Devices = Field(default=Devices(), description="the hardware that is emulated")
    outcomes: Outcomes = Field(
        default=RECORDED,
        description="what the pair does in simulation: recorded replays a decode table of the models; the other forms "
        "make outcomes up, which cannot be emulated",
        examples=["recorded", {"iid": {"match": 0.8}}, {"drawn": {"table": "tiny-prose"}}],
    )
    place: Place = Field(description="where the roles run")
    routing: Rule | Routing | None = Field(
        default=None,
        description="how a request finds one of several targets: a rule, or a rule with its options; null: nearest. A "
        "policy may have its own, beside its label",
        examples=["jsq", {"rule": "weighted", "weights": {"target0": 3, "target1": 1}}],
    )
    prefix_cache: bool | PrefixCaching | None = Field(
        default=None,
        description="whether nodes keep what their models cached of requests that ended, for others that begin alike: "
        "true, false, or options; null: where workload.sessions is given",
        examples=[False, {"tokens": 20000}],
    )
    policies: Annotated[list[PolicyEntry], Field(min_length=1)] = Field(
        description="the policies to compare: `- name`, or `- name: {parameter: value, label: text}`; label is what "
        "the results call it, needed where a policy is listed twice",
        examples=[["autoregressive", {"speculative": {"k": 2}}, {"wanspec": {"k": 2, "phi": 0.5, "label": "nervous"}}]],
    )
    compute: Compute = Field(
        default=Compute(),
        description="models: live or recorded; role or node: what it runs on, which decides how fast real passes are, "
        "never what they compute; ignored in simulation",
        examples=[{"models": "recorded"}, {"drafter0": {"cpus": "0-1", "memory": "2GiB"}}],
    )
    time: Time = Field(default=Time(), description="how fast an emulated run goes", examples=[{"dilation": 4}])
    background: dict[str, Tenants] = Field(
        default={},
        description="by site: what other tenants ask of the devices there, which they share in time with ours",
        examples=[
            {"us-east-1": {"load": "azure-2024-conv", "rate_scale": 0.01, "from_s": 50400}},
            {"us-east-1": [{"role": "target", "rate_per_s": 0.5}, {"role": "target", "by_hour": [0.1] * 24}]},
        ],
    )
    events: list[Event] = Field(
        default=[],
        description="links that break, come back or change, and nodes that stop, at times counted from the start of "
        "every policy's run",
        examples=[[{"at_s": 5, "link": ["us-east-1", "us-east-2"], "up": False}, {"at_s": 7, "heal": True}]],
    )
    prices: Prices | None = Field(
        default=None,
        description="what things cost, for the metric cost; null: not asked for",
        examples=[{"source": "made up", "device_h": {"target": 1.8, "drafter": 0.7}, "wan_gb": 0.02}],
    )
    repeats: Annotated[int, Unit("times"), Field(ge=1, le=1000)] = Field(
        default=1, description="how often every policy runs the workload"
    )
    seed: Annotated[int, NUMBER, Field(ge=0, lt=2**63)] = Field(
        default=0, description="decides every random draw of the experiment"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        return filled(data, _user_sites)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        """What no key says by itself."""
        labels = [entry.label for entry in self.policies]
        roles = {role for role, _ in self.place.nodes().values()}
        for index, entry in enumerate(self.policies):
            at: KeyPath = ("policies", index)
            if entry.label in labels[:index]:
                yield Mistake(at, f"two policies have the label {entry.label!r}; give one of them another label")
            for role in entry.spec.roles:
                if role not in roles:
                    yield Mistake(at, f"policy {entry.label!r} needs a {role}; add it under place:")
        yield from misplaced(self.background, self.place.nodes())
        if wrong := require_sites(self.workload, self.user_sites):
            yield Mistake(("workload", "local_time"), wrong)
        targets = [node for node, (role, _) in self.place.nodes().items() if role == "target"]
        if not targets:
            yield Mistake(("place", "target"), "no target is placed; the model must run somewhere")
            return
        routings: list[tuple[KeyPath, Rule | Routing | None]] = [(("routing",), self.routing)]
        routings += [(("policies", index, "routing"), entry.routing) for index, entry in enumerate(self.policies)]
        for where, given in routings:
            yield from misfits(where, given, targets)
        yield from unknown_nodes(self.events, list(self.place.nodes()))
        devices = self.devices.model_dump()
        native = [key for key in self.devices_in_use() if devices[key] == NATIVE]
        if (why := why_undilated(chosen(self.time), native)) is not None:
            yield Mistake(("time", "dilation"), why)
        known = [*roles, *self.place.nodes()]
        for name in self.compute.by_name:
            if name not in known:
                yield Mistake(("compute", name), f"compute: no role or node {name!r}; known: {', '.join(known)}")

    @property
    def user_sites(self) -> list[str]:
        """Of user0, user1, ..."""
        return _expand(self.place.user)

    def routing_of(self, entry: PolicyEntry) -> Routing | None:
        """How this policy's requests find their target; None where there is one."""
        if _count(self.place.target) == 1:
            return None
        return of(entry.routing or self.routing or "nearest")

    @property
    def keeping(self) -> PrefixCaching | None:
        """What models keep of requests that ended; None: nothing."""
        if isinstance(self.prefix_cache, PrefixCaching):
            return self.prefix_cache
        on = self.workload.sessions is not None if self.prefix_cache is None else self.prefix_cache
        return PrefixCaching() if on else None

    def compute_of(self, node: str) -> NodeCompute:
        """Of a node: its own, else its role's, else the defaults."""
        role = self.place.nodes()[node][0]
        given = self.compute.by_name
        return given.get(node) or given.get(role) or NodeCompute()

    def devices_in_use(self) -> list[str]:
        """Keys of `devices:` whose model a policy runs."""
        models = {model for entry in self.policies for of_role in entry.spec.models.values() for model in of_role}
        return [key for model, key in (("target", "target"), ("draft", "drafter")) if model in models]

    def refuse_emulation(self) -> None:
        """BadInput for made-up outcomes, and for more nodes than an emulated network has addresses."""
        refuse_emulation(self.outcomes, self.compute.recorded)
        nodes = len(self.place.nodes())
        if nodes > MAX_EMULATED_NODES:
            raise BadInput(
                f"place: {nodes} nodes exceed the limit of {MAX_EMULATED_NODES} per emulated network; place fewer, "
                "or use --engine simulation"
            )

    def resolved(self) -> dict[str, Any]:
        """Plain data, every default filled in: what the manifest keeps and the run id hashes."""
        return self.model_dump(mode="json")


def run_id(resolved: Mapping[str, Any], ingredients: Mapping[str, str]) -> str:
    """Ten hex digits over the resolved scenario and everything else that decides the run: code, models, traces."""
    text = json.dumps({"scenario": resolved, "ingredients": dict(ingredients)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
