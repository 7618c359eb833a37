"""What a policy says about itself: its parameters, its roles, and which models each role's node must run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ValidationError

from testbed.errors import BadInput
from testbed.policies.api import DeviceLimits, Role, RoleContext
from testbed.policies.faults import guarded
from testbed.policies.once import Once
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.prefixes import Keeping
from testbed.policies.routing.options import Routing
from testbed.policies.routing.report import Reporting
from testbed.policies.routing.router import Router

RoleFactory = Callable[[Any, RoleContext], Role]  # called with the policy's own parameter model


class PolicySpec(msgspec.Struct, frozen=True):
    name: str
    description: str
    params: type[BaseModel]
    roles: Mapping[str, RoleFactory]  # by role name: "user", "target", "drafter"
    models: Mapping[str, frozenset[str]]  # by role name: "target", "draft"; a role not named runs no model
    # Which passes besides those of one request it asks of each model ("target", "draft"): "tree", "batch". A pair that
    # cannot do them right is refused before anything runs; what is not named here is refused when it is asked for.
    passes: Callable[[Any], Mapping[str, frozenset[str]]] = lambda params: {}
    device_samples: Callable[[Any], bool] = lambda params: False  # its roles want to hear what others do to devices

    def role(
        self,
        name: str,
        params: Any,
        context: RoleContext,
        label: str | None = None,
        routing: Routing | None = None,
        keeping: PrefixCaching | None = None,
    ) -> Role:
        """The role of one node, which takes every message once, however often and in whatever order it comes.

        Its faults are named (`testbed.policies.faults`), with the policy's label in the experiment where it has one.
        `routing`: between several targets, of which a user's role then sees one; None: a user's role sees them all.
        `keeping`: what its models keep of requests that ended; None: nothing.
        """
        called = self.name if label in (None, self.name) else f"{label} ({self.name})"
        who = f"policy {called}, role {name} at {context.node}"
        targets, users = context.peers.get("target", ()), context.peers.get("user", ())
        if routing is not None and name == "user":
            one = replace(context, peers={**context.peers, "target": targets[:1]})
            inner = Once(self._made(name, params, one, who, keeping))
            return Router(inner, targets, routing, users.index(context.node))
        once = Once(self._made(name, params, context, who, keeping), targets if len(targets) > 1 else ())
        if routing is not None and routing.reports and name == "target":
            return Reporting(once, users, routing.report_ms)
        return once

    def _made(self, name: str, params: Any, context: RoleContext, who: str, keeping: PrefixCaching | None) -> Role:
        models = self.models.get(name, frozenset())
        if keeping is None or not models:
            return guarded(self.roles[name], params, context, who, self.roles)
        caches = {model: keeping.cache(context.limits if model == "target" else DeviceLimits()) for model in models}
        context = replace(context, prefixes={model: cache.longest for model, cache in caches.items()})
        return Keeping(guarded(self.roles[name], params, context, who, self.roles), caches)

    def parse(self, values: Mapping[str, Any]) -> Any:
        """The policy's parameters from the experiment file; one line for the first thing that is wrong."""
        try:
            return self.params.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.params.model_fields) or "none"
            raise BadInput(
                f"policy {self.name}{': ' if place else ''}{place}: {first['msg']} (parameters: {known})"
            ) from None
