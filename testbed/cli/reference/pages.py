"""The pages of docs/reference, as text: written from models, records, registries and the command line, never by hand.

Pure: what is described comes in, markdown goes out. `testbed.cli.reference.kept` says which pages there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from testbed.cli.reference.keys import Key, Schema, keys
from testbed.cli.reference.tables import Table
from testbed.policies.spec import PolicySpec
from testbed.results.export.equivalents import Equivalent
from testbed.results.metrics.base import Metric
from testbed.results.statistics import FEWEST_PROMPTS

MADE = "<!-- Written by `make docs` from the code; edit the code, not this file. -->\n"
_BETTER = {"lower": "lower", "higher": "higher", "neither": ""}


def page(title: str, *parts: str) -> str:
    """A page of paragraphs, tables and lists."""
    return f"{MADE}\n# {title}\n\n" + "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; what stands in a cell is on one line and splits no cell."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def title(text: str) -> str:
    """Of a page."""
    return next(line[2:] for line in text.splitlines() if line.startswith("# "))


def of_file(title: str, about: str, schema: Schema, leave: Sequence[str] = ()) -> str:
    """A kind of file: its keys, then each key that takes several forms with an example of each."""
    rows = keys(schema, leave)
    return page(title, _one_line(about), _keys(rows), *_examples(rows))


def policies(specs: Sequence[PolicySpec], schemas: Mapping[str, Schema]) -> str:
    """Every policy with its parameters."""
    parts = [
        "What `policies:` of an experiment may name, each with its parameters, as in `- wanspec: {k: 2, phi: 0.5}`; "
        "`label:` beside them names the policy in the results. A policy of your own: "
        "[write-a-policy.md](../write-a-policy.md)."
    ]
    for spec in specs:
        found = keys(schemas[spec.name])
        roles = ", ".join(f"`{role}`" for role in spec.roles)
        parts += [f"## {spec.name}", f"{spec.description}. Roles: {roles}."]
        parts.append(_keys(found) if found else "No parameters.")
    return page("Policies and their parameters", *parts)


def columns(tables: Sequence[Table]) -> str:
    """The tables of a run directory."""
    parts = [
        "The log of a run, in its directory. Times that end in `_ns` are nanoseconds on one clock per run that never "
        "goes back (the run's in emulation, virtual time in simulation); `_ms` are milliseconds. "
        "`testbed.load` gives each table as a DataFrame."
    ]
    for one in tables:
        parts += [f"## {one.file}", one.about]
        parts.append(
            table(
                ["column", "type", "may be null", "holds"],
                ([f"`{c.name}`", c.type, "yes" if c.nullable else "", c.description] for c in one.columns),
            )
        )
        if not one.always:
            parts.append("Only runs in which there is something to write have this file.")
    return page("Tables of a run", *parts)


def metrics(families: Mapping[str, Sequence[Metric]]) -> str:
    """Every metric of the registry."""
    parts = [
        "`summary.json` has each of these for every policy, `null` where it is undefined. *Samples* have `median`, "
        f"`ci95` (95 % bootstrap interval over prompts; `null` with fewer than {FEWEST_PROMPTS}), `p95` and `n`; a "
        "*value*, such as a ratio of sums, has `value` and `ci95`; a *list*, by draft position or by class, has lists "
        "`value` and `n`."
    ]
    for family, members in families.items():
        parts.append(f"## {family}")
        rows = ([f"`{m.tag}`", m.header, m.unit or "1", m.shape, _BETTER[m.direction], m.formula] for m in members)
        parts.append(table(["metric", "heading", "unit", "shape", "better", "formula"], rows))
    return page("Metrics", *parts)


def equivalents(known: Mapping[str, Equivalent]) -> str:
    """Our names of metrics, and those of other tools."""
    about = (
        "`testbed export --format aiperf` and `--format vllm` write metrics by the other tool's formulas under its "
        "names. These are the nearest of ours, and the difference. `vllm bench serve` puts `mean_`, `median_`, `std_` "
        "or `p99_` before a latency's name and `_ms` behind it. We report medians with intervals, never a mean alone."
    )
    rows = (
        [f"`{tag}`", *(f"`{name}`" if name else "" for name in (one.aiperf, one.vllm)), one.difference]
        for tag, one in known.items()
    )
    return page("Names of metrics elsewhere", about, table(["here", "AIPerf", "vLLM", "difference"], rows))


def exit_statuses(statuses: Mapping[int, str]) -> str:
    """What the exit status of the command says."""
    rows = ([str(status), said] for status, said in statuses.items())
    about = "Every verb of `testbed` ends with one of these; what went wrong is one line per mistake on stderr."
    return page("Exit statuses", about, table(["status", "means"], rows))


def index(pages: Mapping[str, str]) -> str:
    """The first page: links to the others, by file name and title."""
    lines = "\n".join(f"- [{title}]({name})" for name, title in pages.items())
    about = (
        "Generated from the code (`make docs`), and held to it by a test. JSON schemas of the kinds of file are in "
        "[schemas/](../../schemas); editors with a YAML language server use them to complete and check."
    )
    return page("Reference", about, lines)


def _keys(rows: Sequence[Key]) -> str:
    return table(
        ["key", "holds", "unit", "range", "default", "what it is"],
        ([f"`{row.place}`", row.holds, row.units, row.ranges, _default(row.default), row.description] for row in rows),
    )


def _default(text: str) -> str:
    return text if text in ("", "required") else f"`{text}`"


def _examples(rows: Sequence[Key]) -> list[str]:
    shown = [row for row in rows if row.examples and any(word in row.holds for word in ("mapping", "list", " or "))]
    if not shown:
        return []
    return ["## Examples", *(f"`{row.place}`\n\n```yaml\n{_forms(row)}\n```" for row in shown)]


def _forms(row: Key) -> str:
    name = row.place.rpartition(".")[2]
    return "\n".join(f"{name}: {example}" for example in row.examples)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("<name>", "&lt;name&gt;" if "`" not in text else "<name>")
