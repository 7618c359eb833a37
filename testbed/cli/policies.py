"""Policies: `list` and `show` of the catalogue, and `policies check`. Thin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.catalogue import Shelf
from testbed.cli.options import Json
from testbed.cli.output import print_json
from testbed.errors import RunInvalid

if TYPE_CHECKING:
    from testbed.policies.spec import PolicySpec

METAVAR, ARGUMENT = "NAME|FILE.py:SPEC", "A policy's name, or a policy in a file."
Policy = Annotated[str, typer.Argument(metavar=METAVAR, help=ARGUMENT)]


class Policies(Shelf["PolicySpec"]):
    group = key = "policies"
    help = "Policies: list, show, check."
    lists = "List the policies that an experiment may name."
    shows = "Show a policy's roles, their models, and its parameters."
    argument, metavar = ARGUMENT, METAVAR

    def names(self) -> Iterable[str]:
        from testbed.policies import registry

        return registry.names()

    def find(self, name: str) -> PolicySpec:
        return _find(name)

    def row(self, thing: PolicySpec) -> dict[str, Any]:
        roles = {role: sorted(thing.models.get(role, ())) for role in thing.roles}
        return {"name": thing.name, "description": thing.description, "roles": roles}

    def cells(self, thing: PolicySpec) -> dict[str, Any]:
        return {"name": thing.name, "description": thing.description}

    def about(self, thing: PolicySpec) -> dict[str, Any]:
        return {**self.row(thing), "parameters": thing.params.model_json_schema()}

    def show(self, thing: PolicySpec) -> None:
        from testbed.cli.reference.keys import keys

        print(f"{thing.name}: {thing.description}")
        print("roles:")
        for role, models in self.row(thing)["roles"].items():
            print(f"  {role} ({', '.join(models) or 'no'} model{'s' if len(models) > 1 else ''})")
        rows = keys(thing.params.model_json_schema())
        print("parameters:" if rows else "no parameters")
        for row in rows:
            told = ", ".join(part for part in (row.holds, row.ranges, row.units) if part)
            default = f", default {row.default}" if row.default else ""
            print(f"  {row.place} ({told.replace('`', '')}{default}): {row.description}")


def add_to(policies: typer.Typer) -> None:
    """Registers the verb in the group `policies`."""
    policies.command()(check)


def check(
    policy: Policy,
    parameters: Annotated[list[str] | None, typer.Argument(help="The policy's own parameters, e.g. k=3")] = None,
    as_json: Json = False,
) -> None:
    """Check that a policy keeps what every policy must keep.

    It must be lossless, conserve tokens, be pure, never deadlock and be deterministic. It runs against stand-in
    models in virtual time, over many distances, delays and request lengths; in seconds. Exit status 3 where a property
    does not hold.
    """
    from testbed.experiment.document import parse_override
    from testbed.testing import examine

    spec = _find(policy)
    findings = examine(spec, dict(map(parse_override, parameters or [])))
    if as_json:
        print_json({"policy": spec.name, "findings": [one.as_dict() for one in findings]})
    else:
        for one in findings:
            told = "holds" if one.holds else f"BROKEN: {one.said}"
            print(f"{one.property:14} ({one.runs} runs) {told}")
    if not all(one.holds for one in findings):
        raise typer.Exit(RunInvalid.exit_code)


def _find(text: str) -> PolicySpec:
    from testbed.policies import registry

    return registry.find(text, Path())[2]
