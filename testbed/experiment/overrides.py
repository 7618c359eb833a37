"""Sets one value of an experiment file by a dotted key: used by overrides and a sweep's axes.

A policy is named by its label, its registered name or its place in the list: `policies.wanspec.phi`, `policies.2`.
Knows nothing of what the keys mean; the strict model checks the result.
"""

from __future__ import annotations

import re
from typing import Any

from testbed.errors import BadInput
from testbed.files.yamlfile import nearest, said
from testbed.files.yamltext import MAX_DEPTH, KeyPath

POLICIES = "policies"


def assign(data: dict[str, Any], key: str, value: Any, source: str) -> KeyPath:
    """Sets the value in place; returns where. `source` names the setting in complaints: `override 'seed=3'`."""
    *parents, last = key.split(".")
    if len(parents) > MAX_DEPTH:
        raise BadInput(f"{source[:80]}...: a key has at most {MAX_DEPTH} dots")
    at: Any = data
    place: KeyPath = ()
    for part in parents:
        if place == (POLICIES,) and isinstance(at, list) and not _is_index(part):
            index, name, at = _policy(at, part, source)
            place = (*place, index, name)
            continue
        step = part if isinstance(at, dict) else _index(at, part, source)
        if isinstance(at, dict):
            if at.get(step) is None:
                at[step] = {}
            at = at[step]
        else:
            at = at[step]
        place = (*place, step)
    final = last if isinstance(at, dict) else _index(at, last, source)
    at[final] = value
    return (*place, final)


def _policy(entries: list[Any], wanted: str, source: str) -> tuple[int, str, dict[str, Any]]:
    """Index, key and parameters of the policy with this label, else of the only one with this name."""
    named = [_named(entry) for entry in entries]
    found = [index for index, (_, label) in enumerate(named) if label == wanted]
    found = found or [index for index, (name, _) in enumerate(named) if name == wanted]
    labels = [str(label) for _, label in named if label is not None]
    if not found:
        raise BadInput(f"{source}: no policy {wanted!r} in this file{nearest(wanted, labels)}")
    if len(found) > 1:
        raise BadInput(f"{source}: {len(found)} policies are {wanted!r}; use a label: {', '.join(labels)}")
    index = found[0]
    entry = entries[index]
    if isinstance(entry, str):
        entry = entries[index] = {entry: {}}
    key = "params" if "params" in entry else next(iter(entry))
    if entry[key] is None:
        entry[key] = {}
    if not isinstance(entry[key], dict):
        raise BadInput(f"{source}: the parameters of policy {wanted!r} are not a mapping")
    return index, str(key), entry[key]


def _named(entry: Any) -> tuple[Any, Any]:
    """Name and label of one entry as it stands in the file; what is malformed has neither and is refused later."""
    if isinstance(entry, str):
        return entry, entry
    if isinstance(entry, dict) and "params" in entry:
        return entry.get("name"), entry.get("label")
    if isinstance(entry, dict) and len(entry) == 1:
        name, params = next(iter(entry.items()))
        return name, params.get("label", name) if isinstance(params, dict) else name
    return None, None


def _index(at: Any, part: str, source: str) -> int:
    if not isinstance(at, list) or not _is_index(part) or int(part) >= len(at):
        raise BadInput(f"{source}: {said(part)} is not an index into a list of this file")
    return int(part)


def _is_index(part: str) -> bool:
    return re.fullmatch("[0-9]{1,6}", part) is not None  # other signs are digits to Python too, and so are thousands
