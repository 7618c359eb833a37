"""Where the figures of a topology come from, and of what kind they are.

Rule kept: figures of different kinds are not put together in silence. A median over a month on a provider's own
backbone is no ping between public addresses, and neither is a delay of an access line that somebody assumed; a topology
that holds several kinds says so, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from testbed.files.strict import Terse

FigureKind = Literal["backbone", "public_ping", "tcp_connect", "one_way", "access", "assumed", "synthetic"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "backbone": "an operator's own statistic over its backbone, as over weeks",
        "public_ping": "pings between public addresses",
        "tcp_connect": "times to open a TCP connection",
        "one_way": "one-way delays, doubled",
        "access": "an access line measured from its user's side",
        "assumed": "our choice, measured nowhere",
        "synthetic": "made up for tests and teaching",
    }
)


class Source(Terse):
    """Where the figures come from."""

    quiet = ("kind",)

    citation: str = Field(description="what to cite")
    licence: str = Field(description="licence of the numbers")
    url: str | None = Field(default=None, description="where they are published")
    commit: str | None = Field(default=None, description="commit of the repository they were taken from")
    statistic: str | None = Field(
        default=None, description="what one number is: mean of ten pings, median over a month, ..."
    )
    kind: FigureKind | None = Field(
        default=None, description=f"{'; '.join(f'{name}: {means}' for name, means in KINDS.items())}"
    )


def mixing(sources: Iterable[tuple[str, Source]], reason: str | None) -> str | None:
    """What is wrong with putting these named sources together; `reason`: the topology's `mixed_kinds`."""
    named = list(sources)
    kinds = {source.kind for _, source in named}
    if len(named) > 1 and None in kinds:
        unsaid = next(name for name, source in named if source.kind is None)
        return f"{unsaid}: kind is missing; with several sources each says its kind, one of {', '.join(KINDS)}"
    told = ", ".join(f"{source.kind} ({name})" for name, source in named)
    if len(kinds) > 1 and reason is None:
        return f"figures of different kinds: {told}; say why they may be put together: `mixed_kinds: REASON`"
    if len(kinds) == 1 and reason is not None:
        return f"mixed_kinds: all figures are of one kind, {told}; remove it"
    return None
