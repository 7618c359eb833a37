"""One policy in an experiment's list: by name, with parameters and a label, or from a Python file.

Rule kept: its parameters are checked by the policy itself, and every mistake in them is named with its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from testbed.errors import BadInput
from testbed.files.pyfile import PythonFile
from testbed.files.strict import Strict, not_finite
from testbed.files.yamlfile import complaints, problem, problems
from testbed.files.yamltext import KeyPath
from testbed.policies import registry
from testbed.policies.routing.options import Routing, Rule
from testbed.policies.spec import PolicySpec

FOLDER = "folder"  # of the experiment file, in the context of its validation
RESOLVED = {"name", "label", "params"}
BESIDE = ("label", "routing")  # written among a policy's parameters, and none of them


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(
            "it becomes a file name: use letters, digits, '.', '_' and '-', at most 100, starting with a letter or "
            "digit"
        )
    return text


FileName = Annotated[str, AfterValidator(_file_name)]


class PolicyEntry(Strict):
    """One policy of the experiment."""

    name: str = Field(description="registered name, or FILE.py:SPEC with a path relative to this file")
    label: FileName = Field(description="what the results call it; the name, if not given")
    params: dict[str, Any] = Field(description="parameters of the policy")
    routing: Rule | Routing | None = Field(
        default=None, description="how its requests find their target; null: as the experiment's `routing`"
    )
    files: dict[str, str] = Field(
        default={}, description="texts of a policy from a file, by file name; written by the testbed, not by hand"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, item: Any, info: ValidationInfo) -> Any:
        """`- name` and `- name: {params, label}`; the parameters are checked by the policy."""
        return item if isinstance(item, cls) else _entry(item, (info.context or {}).get(FOLDER))

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        return {key: value for key, value in found.items() if value or key not in ("files", "routing")}

    @property
    def spec(self) -> PolicySpec:
        return registry.get(self.name, self.files)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it beside the scenario: the hash of its file in place of the text."""
        found = self.model_dump(mode="json", exclude={"files"})
        return {**found, "sha256": PythonFile(self.files).sha256} if self.files else found


def _entry(item: Any, folder: Path | None) -> Any:
    """`folder` is that of the experiment file; paths are relative to it."""
    if isinstance(item, str):
        item = {item: {}}
    files: dict[str, str] = {}
    beside: dict[str, Any] = {}
    if isinstance(item, dict) and RESOLVED <= set(item) <= {*RESOLVED, "files", "routing"}:  # a manifest read back
        name, params, files = item["name"], item["params"], item.get("files", {})
        beside = {key: item.get(key) for key in BESIDE}
    elif isinstance(item, dict) and len(item) == 1:
        name, params = next(iter(item.items()))
        params = {} if params is None else params
        if isinstance(params, dict):
            beside = {key: params.get(key) for key in BESIDE}
            params = {key: value for key, value in params.items() if key not in BESIDE}
    else:
        raise problem((), "a policy is a name, or one name with its parameters: `- wanspec: {k: 2}`")
    if not isinstance(name, str):
        raise problem((), f"a policy's name is text, not {name!r}")
    written = name
    try:
        if files:
            spec = registry.get(name, files)
        else:
            name, files, spec = registry.find(name, folder)
    except BadInput as error:
        raise problem((), str(error)) from error
    if not isinstance(params, dict):
        words = f"{name}: parameters are given by name, as in `{name}: {{k: 2}}`, not {params!r}"
        raise problem((written,), words)
    label = spec.name if beside.get("label") is None else beside["label"]
    checked = _params((written,), spec, params)
    return {"name": name, "label": label, "params": checked, "routing": beside.get("routing"), "files": files}


def _params(at: KeyPath, spec: PolicySpec, given: dict[str, Any]) -> dict[str, Any]:
    try:
        checked = spec.params.model_validate(given)
    except ValidationError as error:
        found = [one._replace(place=(*at, *one.place), text=f"{spec.name}: {one.text}")
                 for one in complaints(error, spec.params)]  # fmt: skip
        raise problems(found) from error
    if (wild := not_finite(checked.model_dump())) is not None:  # JSON would say null
        raise problem((*at, wild), f"{spec.name}: {wild} is not finite; write a number")
    return checked.model_dump(mode="json")
