"""What every policy must keep, as checks that a policy's author can call: `testbed policies check` does the same.

`check(SPEC)` runs a policy against stand-in models under many network conditions and raises `Broken` for the first
property that does not hold; `check_lossless(SPEC)` looks at the output alone; `examine(SPEC)` returns what it found
about each property. `Loop`, `HashModels`, `LogitModels` and `Job` are the parts, for tests of a policy's own behaviour.

May import `policies`, `decoding` and `wire`; nothing in the engines imports this. Start reading at `checks`.
"""

from testbed.testing.checks import PROPERTIES, Finding, check, check_lossless, examine
from testbed.testing.loop import Broken, Loop, Pass, Result
from testbed.testing.models import HashModels, Job, LogitModels, Models, VariedModels, hashed

__all__ = [
    "PROPERTIES", "Broken", "Finding", "HashModels", "Job", "LogitModels", "Loop", "Models", "Pass", "Result",
    "VariedModels", "check", "check_lossless", "examine", "hashed",
]  # fmt: skip
