"""Every key that a file may hold says what it is: description, unit, range, an example of each form."""

from __future__ import annotations

import pytest

from testbed.cli.reference.keys import Key, keys
from testbed.cli.reference.schemas import KINDS, of, policy
from testbed.policies import registry

FILES = {
    **{kind: of(kind, registry.shipped()) for kind in KINDS},
    **{f"policy {spec.name}": policy(spec) for spec in registry.shipped()},
}
OF_ANOTHER = ("as the metric", "as the axis", "as the column")  # such a number has no separate bounds


def _defects(key: Key) -> list[str]:
    found = []
    if len(key.description) < 5:
        found.append("no description")
    for number in key.numbers:
        if not number.unit:
            found.append("a number without unit")
        if not number.bounds and number.unit not in OF_ANOTHER:
            found.append("a number without range")
    forms = [one for one in key.holds.replace("true or false", "bool").split(" or ") if "`" not in one]
    if len(forms) > 1 and not key.examples:
        found.append("several forms and no example")
    return found


@pytest.mark.parametrize("kind", FILES)
def test_every_key_has_description_unit_and_range(kind: str) -> None:
    rows = keys(FILES[kind], leave={"policies"})
    assert rows or kind == "policy autoregressive"
    wrong = {row.place: defects for row in rows if (defects := _defects(row))}
    assert not wrong
