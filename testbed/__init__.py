"""A trace-driven emulation testbed for distributed speculative decoding.

`import testbed as tb` is the door for programs and notebooks: `tb.simulate`, `tb.emulate`, `tb.sweep`, `tb.compare`,
`tb.capacity` run experiments, `tb.load` reads a run, `tb.Policy` and `tb.testing` are for policies of your own. Each
is imported when it is first used, so importing this package imports neither pandas nor numpy, torch or mininet, and
`testbed --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed import testing as testing
    from testbed.api.run import Run as Run
    from testbed.api.run import load as load
    from testbed.api.shaped import shaped_network as shaped_network
    from testbed.api.verbs import capacity as capacity
    from testbed.api.verbs import compare as compare
    from testbed.api.verbs import emulate as emulate
    from testbed.api.verbs import query as query
    from testbed.api.verbs import simulate as simulate
    from testbed.api.verbs import sweep as sweep
    from testbed.errors import BadInput as BadInput
    from testbed.errors import MachineCannot as MachineCannot
    from testbed.errors import RunInvalid as RunInvalid
    from testbed.files.datafiles import VERSION as __version__  # noqa: N811
    from testbed.policies.spec import PolicySpec as Policy

_PLACES = {
    "BadInput": "errors",
    "MachineCannot": "errors",
    "Policy": "policies.spec:PolicySpec",
    "Run": "api.run",
    "RunInvalid": "errors",
    "__version__": "files.datafiles:VERSION",
    "capacity": "api.verbs",
    "compare": "api.verbs",
    "emulate": "api.verbs",
    "load": "api.run",
    "query": "api.verbs",
    "shaped_network": "api.shaped",
    "simulate": "api.verbs",
    "sweep": "api.verbs",
    "testing": "testing:",
}

__all__ = [
    "BadInput", "MachineCannot", "Policy", "Run", "RunInvalid", "__version__", "capacity", "compare", "emulate", "load",
    "query", "shaped_network", "simulate", "sweep", "testing",
]  # fmt: skip

if os.environ.get("TESTBED_COMPILED"):
    from pathlib import Path

    from testbed.system.compiled import use

    use(Path(os.environ["TESTBED_COMPILED"]))


def __getattr__(name: str) -> Any:
    """Imports what is asked for by name, once."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, colon, called = _PLACES[name].partition(":")
    module = importlib.import_module(f"{__name__}.{module_name}")
    found = module if colon and not called else getattr(module, called or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
