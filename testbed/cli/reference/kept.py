"""Files of the repository that are written from the code: schemas/ and docs/reference.

`stale` says which differ from what the code says, `write` writes them. Only what ships is in them, so that a policy
installed beside the testbed changes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from testbed.cli.reference import pages, schemas
from testbed.cli.reference.commandline import command_line
from testbed.cli.reference.tables import tables
from testbed.errors import EXIT_STATUSES
from testbed.policies import registry
from testbed.results.export.equivalents import EQUIVALENTS
from testbed.results.metrics import FAMILIES

SCHEMAS, REFERENCE = "schemas", "docs/reference"

# of each kind of file: title, what to know first, keys whose inside is on another page
_FILES: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "experiment": (
            "Experiment files",
            """One YAML file describes an experiment; those of `experiments/` are examples. Keys are dotted here, as in
            overrides on the command line: `workload.requests=10`. `<name>` stands for any key, `[]` for an entry of a
            list. Numbers are written without their unit ([input files](../input-files.md)).""",
            ("policies", "matrix"),
        ),
        "topology": (
            "Topology files",
            """`topologies/*.yaml`: regions and the round-trip time of every pair of them, with their source. In
            matrices `<name>` is a region: the first the one a link comes from, the second the one it goes to.""",
            (),
        ),
        "device": (
            "Device profiles",
            """How long a forward pass takes on the hardware that is emulated. With `new` tokens fed per request and
            `cached` ones held, a pass takes *pass_ms(Σ new) + attention_ms · Σ new · (new + cached) + kv_read_ms · Σ
            cached + sequence_ms · requests + step_ms*, times its own factor where the profile says that passes
            vary ([simulation](../simulation.md#pass-times-that-vary)).""",
            (),
        ),
        "claims": (
            "Claims files",
            """`experiments/<paper>/claims.yaml`, for `testbed reproduce <paper>`: what a paper claims and which of our
            numbers stand beside it ([sweeps](../sweeps.md)).""",
            (),
        ),
        "prompts": (
            "Prompt sets",
            """A `.jsonl` file: one JSON object per line, with these keys. Other keys are ignored. The sets that ship
            lie in `workloads/prompts`. ShareGPT, MT-Bench, Spec-Bench and others are read as they are
            ([loads](../load.md#prompts-of-public-collections)).""",
            (),
        ),
        "load": (
            "Load profiles",
            """`workloads/load/*.yaml`: how often requests come and how long they are ([loads](../load.md)). Lists of
            numbers hold one a step, from the first on.""",
            (),
        ),
    }
)


def files() -> Mapping[str, str]:
    """All that is written from the code: path in the repository to content."""
    from testbed.cli.main import app

    return {**schema_files(), **pages_of(command_line(app))}


def schema_files() -> dict[str, str]:
    """Path in the repository to content."""
    return {f"{SCHEMAS}/{kind}.json": schemas.text(schemas.of(kind, registry.shipped())) for kind in schemas.KINDS}


def pages_of(command_line: str) -> dict[str, str]:
    """Path in the repository to content; `command_line` is the page about the verbs."""
    shipped = registry.shipped()
    of = {kind: schemas.of(kind, shipped) for kind in schemas.KINDS} | {"experiment": schemas.experiment(shipped)}
    files = {kind: pages.of_file(title, about, of[kind], leave) for kind, (title, about, leave) in _FILES.items()}
    written = {
        **{f"{kind}.md": text for kind, text in files.items()},
        "policies.md": pages.policies(shipped, {spec.name: schemas.policy(spec) for spec in shipped}),
        "tables.md": pages.columns(tables()),
        "metrics.md": pages.metrics(FAMILIES),
        "metric-names.md": pages.equivalents(EQUIVALENTS),
        "command-line.md": command_line,
        "exit-status.md": pages.exit_statuses(EXIT_STATUSES),
    }
    titles = {
        name: next(line[2:] for line in text.splitlines() if line.startswith("# ")) for name, text in written.items()
    }
    return {f"{REFERENCE}/{name}": text for name, text in {"README.md": pages.index(titles), **written}.items()}


def stale(root: Path, files: Mapping[str, str]) -> list[str]:
    """Paths whose files are missing or say something else."""
    return [
        path for path, text in files.items() if not (root / path).is_file() or (root / path).read_text("utf-8") != text
    ]


def write(root: Path, files: Mapping[str, str]) -> list[str]:
    """Writes what is stale; returns the paths."""
    changed = stale(root, files)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
    return changed
