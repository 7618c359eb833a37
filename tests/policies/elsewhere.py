"""A policy of another distribution, installed into a folder: module, metadata and entry point, as pip would."""

from __future__ import annotations

from pathlib import Path

MODULE = """\
from pydantic import BaseModel

from testbed.policies.api import *
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request, Tokens


class Params(BaseModel):
    pass


def helper(event):
    {helper}


class Target:
    def __init__(self, params, context):
        {init}

    def handle(self, event, now):
        if isinstance(event, LinkSample):
            return []
        {handle}


ROLES = {{"user": make_user, "target": Target}}
SPEC = PolicySpec("elsewhere", "for tests", Params, ROLES, {{"target": frozenset({{"target"}})}})
"""


def install(folder: Path, handle: str, helper: str = "pass", init: str = "pass") -> Path:
    """Its module's file; `handle` is what its target does with an event."""
    folder.mkdir(exist_ok=True)
    module = folder / "elsewhere.py"
    module.write_text(MODULE.format(handle=handle, helper=helper, init=init))
    about = folder / "elsewhere-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[testbed.policies]\nelsewhere = elsewhere:SPEC\n")
    return module


def line_of(module: Path, words: str) -> str:
    """`FILE:LINE` of the line that holds these words."""
    lines = module.read_text().splitlines()
    return f"{module}:{next(number for number, line in enumerate(lines, 1) if words in line)}"
