"""What has names and can be listed and shown: experiments and all that they name, and metrics.

Each shelf asks the code that uses its things, so a list never says something else than a run does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from testbed.cli.catalogue import Shelf
from testbed.cli.output import show, table

if TYPE_CHECKING:
    from testbed.experiment.document import Document
    from testbed.models.catalogue import ShippedModel
    from testbed.models.devices import DeviceProfile
    from testbed.network.spec.series import RttSeries
    from testbed.network.spec.topology import Topology
    from testbed.results.metrics import Metric
    from testbed.tables.table import Provenance
    from testbed.workload.prompts import PromptSet

BEGINNING = 40  # characters of a prompt
SCHEMA_LINE = "# yaml-language-server:"  # which names a schema beside the file


@dataclass(frozen=True)
class AnExperiment:
    name: str
    document: Document
    axes: dict[str, tuple[Any, ...]]  # empty: a single run
    text: str  # of its file


class Experiments(Shelf[AnExperiment]):
    group = key = "experiments"
    help = "Experiments: list, show."
    lists = """List the experiments that have names.

    They are the files of `experiments/`, here and of the testbed. `points` is how many runs a sweep has.
    """
    shows = """Show an experiment's file.

    What it prints is an experiment: `testbed experiments show quickstart > mine.yaml` makes one to change.
    """
    argument = "An experiment's name or file."

    def names(self) -> Iterable[str]:
        from testbed.files.named import EXPERIMENT, known

        return known(EXPERIMENT)

    def find(self, name: str) -> AnExperiment:
        from testbed.experiment.document import read_document
        from testbed.files.named import experiment
        from testbed.files.reading import read_text
        from testbed.sweeps.matrix import KEY, parse_axes

        document = read_document(experiment(name))
        matrix = document.data.pop(KEY, None)
        axes = {} if matrix is None else parse_axes(matrix, document.path, document.lines)
        return AnExperiment(name, document, axes, read_text(document.path))

    def row(self, thing: AnExperiment) -> dict[str, Any]:
        from testbed.sweeps.matrix import count

        comment = " ".join(line.removeprefix("#").strip() for line in _first_comment(thing.text))
        described = " ".join(str(thing.document.data.get("description", "")).split())
        return {"name": thing.name, "points": count(thing.axes), "description": described, "comment": comment}

    def cells(self, thing: AnExperiment) -> dict[str, Any]:
        row = self.row(thing)
        first, *_ = re.split(r"\.(?: (?=[A-Z])|$)", row["comment"] or row["description"])
        return {"name": row["name"], "points": row["points"], "about": first}

    def about(self, thing: AnExperiment) -> dict[str, Any]:
        axes = {key: list(values) for key, values in thing.axes.items()}
        return {**self.row(thing), "file": str(thing.document.path), "experiment": thing.document.data, "matrix": axes}

    def show(self, thing: AnExperiment) -> None:
        from testbed.files.reading import shown

        lines = [line for line in thing.text.splitlines() if not line.startswith(SCHEMA_LINE)]
        print("\n".join([f"# from {shown(thing.document.path)}", *lines]))


class Topologies(Shelf["Topology"]):
    group, key = "topology", "topologies"
    help = "Topologies: list, show, diff, import."
    lists = "List the topologies."
    shows = "Show a topology's round-trip times and their source."
    argument = "Name or file of a topology."

    def names(self) -> Iterable[str]:
        from testbed.network.spec.topology import available

        return available()

    def find(self, name: str) -> Topology:
        from testbed.network.spec.topology import load_topology

        return load_topology(name)

    def row(self, thing: Topology) -> dict[str, Any]:
        return {"name": thing.name, "regions": thing.region_names, "description": thing.description}

    def about(self, thing: Topology) -> dict[str, Any]:
        return thing.model_dump(mode="json", by_alias=True)


class Traces(Shelf["RttSeries"]):
    group, key = "trace", "traces"
    help = "RTT traces: list, show, import."
    lists = "List the RTT traces that `network.rtt_series` can name."
    shows = "Show a trace's metadata and each pair's round-trip times."
    argument = "RTT trace name or file."

    def names(self) -> Iterable[str]:
        from testbed.network.spec.series import available_series

        return available_series()

    def find(self, name: str) -> RttSeries:
        from testbed.network.spec.series import load_series

        return load_series(name)

    def row(self, thing: RttSeries) -> dict[str, Any]:
        from testbed.network.spec.series_summary import summary

        return summary(thing)

    def about(self, thing: RttSeries) -> dict[str, Any]:
        from testbed.network.spec.series_summary import pair_rows

        return {**thing.as_manifest(), "pairs": pair_rows(thing)}

    def show(self, thing: RttSeries) -> None:
        from testbed.network.spec.series_summary import pair_rows

        for key, value in thing.about.items():
            print(f"{key}: {value}")
        show(table(f"{thing.name}, {thing.seconds:g} s", pair_rows(thing)))


class Models(Shelf["ShippedModel"]):
    group = key = "models"
    help = "Models and pairs: list, show, add, check, train, profile."
    lists = "List the models that ship or were added."
    shows = "Show a model that ships or was added, or prompt-lookup."
    argument = "A model's name."

    def names(self) -> Iterable[str]:
        from testbed.models.load import known_models
        from testbed.models.lookup import LOOKUP

        return [*known_models(), LOOKUP]

    def find(self, name: str) -> ShippedModel:
        from testbed.models.catalogue import known_model

        return known_model(name)

    def row(self, thing: ShippedModel) -> dict[str, Any]:
        return asdict(thing)

    def cells(self, thing: ShippedModel) -> dict[str, Any]:
        return {**self.row(thing), "sha256": thing.sha256[:12]}


class Devices(Shelf["DeviceProfile"]):
    group = key = "devices"
    help = "Device profiles: list, show."
    lists = "List the device profiles that `devices:` can name."
    shows = "Show a device profile and its source."
    argument = "A device profile's name, or its .yaml file."

    def names(self) -> Iterable[str]:
        from testbed.models.devices import names

        return names()

    def find(self, name: str) -> DeviceProfile:
        from testbed.models.devices import load_profile

        return load_profile(name)

    def row(self, thing: DeviceProfile) -> dict[str, Any]:
        return {
            "name": thing.name,
            "model": thing.model,
            "kind": thing.kind,
            "one_token_ms": None if thing.native else thing.duration_ms(1),
            "kv_capacity_tokens": thing.kv_capacity_tokens,
        }

    def about(self, thing: DeviceProfile) -> dict[str, Any]:
        return thing.model_dump(mode="json")


class Prompts(Shelf["PromptSet"]):
    group = key = "prompts"
    help = "Prompt sets: list, show."
    lists = "List the prompt sets that `workload.prompts` can name."
    shows = "Show the prompts of a set."
    argument = "A prompt set's name, or its .jsonl file."

    def names(self) -> Iterable[str]:
        from testbed.files.named import PROMPTS, known

        return known(PROMPTS)

    def find(self, name: str) -> PromptSet:
        from testbed.workload.prompts import load_prompts

        return load_prompts(name)

    def row(self, thing: PromptSet) -> dict[str, Any]:
        from statistics import median

        domains = list(dict.fromkeys(one.domain for one in thing.prompts))
        characters = int(median(len(one.text) for one in thing.prompts))
        return {"name": thing.name, "prompts": len(thing.prompts), "median_characters": characters, "domains": domains}

    def about(self, thing: PromptSet) -> dict[str, Any]:
        each = [{"id": one.id, "domain": one.domain, "text": one.text} for one in thing.prompts]
        return {**self.row(thing), "sha256": thing.sha256, "prompts": each}

    def show(self, thing: PromptSet) -> None:
        rows = [
            {"id": one.id, "domain": one.domain, "characters": len(one.text), "begins": _beginning(one.text)}
            for one in thing.prompts
        ]
        show(table(f"{thing.name}: {len(rows)} prompts, sha256 {thing.sha256[:12]}", rows))


class Tables(Shelf[tuple[str, "Provenance"]]):
    group = key = "tables"
    help = "Decode tables: list, show."
    lists = "List the decode tables that `--table` can name."
    shows = "Show where a decode table comes from."
    argument = "A decode table's name, or its .parquet file."

    def names(self) -> Iterable[str]:
        from testbed.files.named import TABLE, known

        return known(TABLE)

    def find(self, name: str) -> tuple[str, Provenance]:
        from testbed.tables.table import load_provenance

        return name, load_provenance(name)

    def row(self, thing: tuple[str, Provenance]) -> dict[str, Any]:
        about = self.about(thing)
        return {key: about[key] for key in ("name", "target", "draft", "prompts", "depth", "output_tokens")}

    def about(self, thing: tuple[str, Provenance]) -> dict[str, Any]:
        import msgspec

        name, provenance = thing
        found: dict[str, Any] = msgspec.to_builtins(provenance)
        return {"name": name, **found}


class Metrics(Shelf[tuple[str, "Metric"]]):
    group = key = "metrics"
    help = "Metrics: list, show."
    lists = "List the metrics that are computed of every run."
    shows = "Show a metric: unit, formula, what it is computed from."
    argument = "A metric's name."

    def names(self) -> Iterable[str]:
        from testbed.results.metrics import REGISTRY

        return REGISTRY

    def find(self, name: str) -> tuple[str, Metric]:
        from testbed.errors import BadInput
        from testbed.files.yamlfile import nearest, said
        from testbed.results.metrics import FAMILIES, REGISTRY

        if name not in REGISTRY:
            raise BadInput(f"no metric {said(name)}{nearest(name, REGISTRY)}")
        metric = REGISTRY[name]
        return next(family for family, members in FAMILIES.items() if metric in members), metric

    def row(self, thing: tuple[str, Metric]) -> dict[str, Any]:
        family, metric = thing
        return {"name": metric.tag, "family": family, "unit": metric.unit or "1", "formula": metric.formula}

    def cells(self, thing: tuple[str, Metric]) -> dict[str, Any]:
        row = self.row(thing)
        return {key: row[key] for key in ("name", "unit", "formula")}

    def about(self, thing: tuple[str, Metric]) -> dict[str, Any]:
        _, metric = thing
        more = {"heading": metric.header, "better": metric.direction, "shape": metric.shape}
        return {**self.row(thing), **more, "tables": list(metric.requires)}


def _first_comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith(SCHEMA_LINE):
            yield line


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= BEGINNING else f"{line[:BEGINNING]}..."
