"""The verbs about policies: `policies list`, `policies show`, `policies check`. Thin, as `testbed.cli.main`, which adds
them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import Json
from testbed.errors import RunInvalid

if TYPE_CHECKING:
    from testbed.policies.spec import PolicySpec

Policy = Annotated[str, typer.Argument(metavar="NAME|FILE.py:SPEC", help="A policy's name, or a policy in a file.")]


def add_to(app: typer.Typer) -> None:
    policies = typer.Typer(help="Policies: list, show, check.", no_args_is_help=True)
    policies.command("list")(list_all)
    policies.command()(show)
    policies.command()(check)
    app.add_typer(policies, name="policies")


def list_all(as_json: Json = False) -> None:
    """List the policies that an experiment may name."""
    from testbed.policies import registry

    specs = [registry.get(name) for name in registry.names()]
    if as_json:
        print(json.dumps([_about(spec) for spec in specs], indent=2))
        return
    for spec in specs:
        print(f"{spec.name:16} {spec.description}")


def show(policy: Policy, as_json: Json = False) -> None:
    """Show a policy's roles, their models, and its parameters."""
    spec = _find(policy)
    if as_json:
        print(json.dumps({**_about(spec), "parameters": spec.params.model_json_schema()}, indent=2))
        return
    from testbed.reference.keys import keys

    print(f"{spec.name}: {spec.description}")
    print("roles:")
    for role, models in _about(spec)["roles"].items():
        print(f"  {role} ({', '.join(models) or 'no'} model{'s' if len(models) > 1 else ''})")
    rows = keys(spec.params.model_json_schema())
    print("parameters:" if rows else "no parameters")
    for row in rows:
        told = ", ".join(part for part in (row.holds, row.ranges, row.units) if part)
        default = f", default {row.default}" if row.default else ""
        print(f"  {row.place} ({told.replace('`', '')}{default}): {row.description}")


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
        print(json.dumps({"policy": spec.name, "findings": [one.as_dict() for one in findings]}, indent=2))
    else:
        for one in findings:
            told = "holds" if one.holds else f"BROKEN: {one.said}"
            print(f"{one.property:14} ({one.runs} runs) {told}")
    if not all(one.holds for one in findings):
        raise typer.Exit(RunInvalid.exit_code)


def _find(text: str) -> PolicySpec:
    from testbed.policies import registry

    return registry.find(text, Path())[2]


def _about(spec: PolicySpec) -> dict[str, Any]:
    roles = {role: sorted(spec.models.get(role, ())) for role in spec.roles}
    return {"name": spec.name, "description": spec.description, "roles": roles}
