"""JSON schemas of the files that people write, made from the models that check them.

A schema says what a file may hold, key by key; what depends on several keys at once only the testbed itself checks.
Schemas of the shipped files are kept in schemas/, for editors; a test holds them to the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

from testbed.experiment.scenario import Scenario
from testbed.models.devices import DeviceProfile
from testbed.network.spec.topology import Topology
from testbed.policies import registry
from testbed.policies.spec import PolicySpec
from testbed.reproduce.claims import Claims
from testbed.sweeps.matrix import MAX_POINTS, MAX_VALUE
from testbed.workload.load.profile import Profile
from testbed.workload.prompts import Prompt

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
POLICY_FILE = r"\.py:\w+$"  # a policy by its file: my_policy.py:SPEC
AXIS = r"^[^.]+(\.[^.]+)*$"  # a dotted key


def experiment(policies: Sequence[PolicySpec]) -> Schema:
    """Of an experiment as its file has it: with policies by name, these, and a matrix where it is swept."""
    schema = of_model(Scenario)
    del schema["$defs"]["PolicyEntry"]
    params = {spec.name: _labelled(spec.name, spec.params) for spec in policies}
    for one in params.values():
        schema["$defs"] |= one.pop("$defs", {})
    schema["properties"]["policies"]["items"] = _entry(params)
    schema["properties"]["matrix"] = {
        "description": "for testbed sweep: dotted key: the values to sweep, a list or an evenly spaced range; points "
        "are all combinations",
        "type": "object",
        "minProperties": 1,
        "patternProperties": {AXIS: _axis()},
        "additionalProperties": False,
        "examples": [{"network.rtt_ms": [0, 10, 20], "policies.wanspec.phi": {"from": 0, "to": 3, "count": 100}}],
    }
    return schema


def _swept(schema: Schema) -> Schema:
    """Of what an experiment needs, the rest may come from elsewhere: from a matrix' axes, or requests from a load."""
    needed = [key for key in schema["required"] if key != "name"]
    workload = schema["$defs"]["Workload"]
    counted = {
        **workload,
        "required": [key for key in workload["required"] if key != "requests"],
        "anyOf": [{"required": ["requests"]}, {"required": ["load"]}],
    }
    some = {"required": ["name"], "anyOf": [{"required": needed}, {"required": ["matrix"]}]}
    return {**schema, **some, "$defs": {**schema["$defs"], "Workload": counted}}


def policy(spec: PolicySpec) -> Schema:
    """Of a policy's parameters."""
    schema = of_model(spec.params)
    return {**schema, "title": spec.name, "description": spec.description}


def prompt() -> Schema:
    """Of one line of a prompt set."""
    schema = msgspec.json.schema(Prompt)
    return {"$schema": DIALECT, **schema["$defs"]["Prompt"]}


def device() -> Schema:
    """Of a device profile, which need not say its name."""
    schema = of_model(DeviceProfile)
    schema["required"].remove("name")
    return schema


def topology() -> Schema:
    """Of a topology, whose figures and their source stand in it or in CSV files."""
    schema = of_model(Topology)
    elsewhere = ["source", "measured_on", "rtt_ms"]
    schema["required"] = [key for key in schema["required"] if key not in elsewhere]
    return {**schema, "anyOf": [{"required": elsewhere}, {"required": ["rtt_csv"]}]}


def of_model(model: type[BaseModel], refs: str = "#/$defs/{model}") -> Schema:
    """Of a file that is one model."""
    schema = model.model_json_schema(ref_template=refs)
    _tidy(schema)
    return {"$schema": DIALECT, **schema}


KINDS = ("experiment", "topology", "device", "claims", "prompts", "load")  # of files, each with one in schemas/
ALL = (*KINDS, "sweep", "policy")  # those, experiments with a matrix, and one entry of `policies:`


def of(kind: str, policies: Sequence[PolicySpec]) -> Schema:
    """The schema of one of ALL."""
    match kind:
        case "experiment":
            return _swept(experiment(policies))
        case "topology":
            return topology()
        case "device":
            return device()
        case "claims":
            return of_model(Claims)
        case "prompts":
            return prompt()
        case "load":
            return of_model(Profile)
        case "sweep":
            schema = _swept(experiment(policies))
            return {**schema, "required": [*schema["required"], "matrix"]}
        case "policy":
            schema = experiment(policies)
            entry = {"$schema": DIALECT, **schema["properties"]["policies"]["items"]}
            own = {name: one for name, one in schema["$defs"].items() if "." in name}  # of a policy's parameters
            return {**entry, "title": "Policy", "$defs": own}
    raise ValueError(kind)


def installed(kind: str) -> Schema:
    """With all policies that an experiment may name here, not only those that ship."""
    return of(kind, [registry.get(name) for name in registry.names()])


def text(schema: Schema) -> str:
    """As a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _entry(params: Mapping[str, Schema]) -> Schema:
    """One entry of `policies:`."""
    by_name = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in params.items()}
    free = {"type": ["object", "null"]}
    return {
        "anyOf": [
            {"enum": list(params)},
            {"type": "string", "pattern": POLICY_FILE},
            {
                "type": "object",
                "properties": by_name,
                "patternProperties": {POLICY_FILE: free},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def _labelled(name: str, model: type[BaseModel]) -> Schema:
    """A policy's parameters, its label and its routing; definitions have the policy's name before theirs."""
    schema = of_model(model, f"#/$defs/{name}.{{model}}")
    del schema["$schema"]
    if own := schema.pop("$defs", None):
        schema["$defs"] = {f"{name}.{key}": value for key, value in own.items()}
    label = {"type": "string", "description": "what the results call it; the name of the policy, if not given"}
    routing = {"$ref": "#/properties/routing", "description": "how its requests find one of several targets"}
    return {**schema, "properties": {"label": label, "routing": routing, **schema.get("properties", {})}}


def _axis() -> Schema:
    end = {"type": "number", "minimum": -MAX_VALUE, "maximum": MAX_VALUE}
    number = {"type": "integer", "minimum": 2, "maximum": MAX_POINTS}
    return {
        "anyOf": [
            {"type": "array", "minItems": 1},
            {
                "type": "object",
                "properties": {"from": end, "to": end, "count": number},
                "required": ["from", "to", "count"],
                "additionalProperties": False,
            },
        ]
    }


def _tidy(schema: Any) -> None:
    """Titles that only repeat the keys go."""
    if isinstance(schema, dict):
        for value in schema.values():
            _tidy(value)
        if isinstance(properties := schema.get("properties"), dict):
            for one in properties.values():
                if isinstance(one, dict):
                    one.pop("title", None)
    elif isinstance(schema, list):
        for value in schema:
            _tidy(value)
