"""Policies by name: strict parameters, nearest names, third parties by entry point; and what policies may import."""

from __future__ import annotations

import ast
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import testbed.policies
from testbed.errors import BadInput
from testbed.policies import registry, speculative
from testbed.testing.purity import forbidden_imports

POLICIES = Path(testbed.policies.__file__).parent


def test_built_in_policies_say_which_models_their_roles_need() -> None:
    assert {"autoregressive", "speculative", "wanspec"} <= set(registry.names())
    for name in registry.names():
        spec = registry.get(name)
        assert spec.name == name
        assert {"user", "target"} <= set(spec.roles)
        assert set(spec.models) <= set(spec.roles)
        assert "target" in spec.models["target"]
    assert registry.get("wanspec").models["drafter"] == {"draft"}


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="nearest is 'wanspec'"):
        registry.get("wan-spec")


@pytest.mark.parametrize(
    ("policy", "values", "message"),
    [
        (
            "speculative",
            {"K": 2},
            "K: Extra inputs are not permitted .*parameters: max_batch, token_budget, k, draft, top_q",
        ),
        ("speculative", {"k": 0}, "k: .* greater than or equal to 1"),
        ("wanspec", {"phi": -0.1}, "phi"),
        ("wanspec", {"rtt_ms": "fast"}, "rtt_ms"),
        ("autoregressive", {"k": 2}, "parameters: max_batch, token_budget"),
        ("wanspec", {"k": 8, "token_budget": 8}, "token_budget 8 must hold the 9 tokens of one round"),
    ],
)
def test_bad_parameters_get_one_line(policy: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        registry.get(policy).parse(values)
    assert "\n" not in str(caught.value)


class Elsewhere:
    """Stands in for another distribution's module."""

    SPEC = speculative.SPEC


@pytest.mark.parametrize("point_name", ["speculative-too", "wanspec"])
def test_entry_points_must_lead_to_a_spec_of_their_name(point_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(point_name, f"{__name__}:Elsewhere.SPEC", registry.GROUP)
    monkeypatch.setattr(registry, "_installed", lambda path: (point,))
    assert point_name in registry.names()
    if point_name == "wanspec":
        assert registry.get(point_name).models["drafter"] == {"draft"}  # a built-in name is never taken over
    else:
        with pytest.raises(BadInput, match="must be a PolicySpec of that name"):
            registry.get(point_name)


def test_policies_see_neither_clock_nor_models_nor_chance() -> None:
    """Invariant 7: what a role cannot import it cannot know."""
    allowed = (
        "testbed.decoding",
        "testbed.policies",
        "testbed.wire.messages",
        "testbed.errors",
        "testbed.files.strict",
        "testbed.files.reading",
        "testbed.files.pyfile",
    )
    for path in [*POLICIES.rglob("*.py"), *(POLICIES.parent / "decoding").rglob("*.py")]:
        source = path.read_text()
        assert not list(forbidden_imports(source)), path.name
        for node in ast.walk(ast.parse(source)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                if module.startswith("testbed"):
                    assert module.startswith(allowed), f"{path.name} imports {module}"
                if module.startswith("testbed.policies"):
                    assert "decoding" not in path.parts, f"{path.name} imports {module}"
