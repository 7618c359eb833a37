"""The testbed's own errors: raised where the fact is known, printed in one place (`testbed.cli.main`).

Every message is one line that names the file, the place in it and the fix.
"""

from collections.abc import Mapping
from types import MappingProxyType


class TestbedError(Exception):
    """Base of all errors that are answered with one line instead of a traceback."""

    exit_code = 1
    __test__ = False  # no test class, whatever pytest makes of its name


class BadInput(TestbedError):
    """The user's input is wrong: unknown key, missing region, mismatched tokenizers. Exit code 2."""

    exit_code = 2


class RunInvalid(TestbedError):
    """The run finished, or was stopped, in a state whose numbers must not be trusted. Exit code 3."""

    exit_code = 3


class MachineCannot(TestbedError):
    """This machine lacks what was asked for: root, netem, Mininet, /dev/net/tun. Exit code 4."""

    exit_code = 4


class AssertionsFailed(TestbedError):
    """The run is valid, and what `--assert` says of it does not hold. Exit code 5."""

    exit_code = 5


class NoEngine(MachineCannot):
    """No container engine answers: whatever else is asked of it fails for the same reason."""


def error_of(exit_code: int, words: str) -> TestbedError:
    """What another process of the run said in one line, as the error it was there; else RunInvalid."""
    kinds: dict[int, type[TestbedError]] = {kind.exit_code: kind for kind in (BadInput, MachineCannot)}
    return kinds.get(exit_code, RunInvalid)(words)


EXIT_STATUSES: Mapping[int, str] = MappingProxyType(
    {
        0: "done; a run, sweep or probe is valid",
        1: "`clean`: something could not be removed; else a defect of the testbed, whose traceback follows",
        BadInput.exit_code: "the input is wrong: the command line, a file, what they name",
        RunInvalid.exit_code: "finished, or stopped, but not valid: do not trust the numbers; the reasons are given",
        MachineCannot.exit_code: "this machine cannot do it: privileges, kernel, container engine, memory, disk",
        AssertionsFailed.exit_code: "valid, and an assertion (`run --assert`) does not hold",
        130: "interrupted (Ctrl-C, SIGTERM, SIGHUP); everything that was set up has been taken down",
    }
)
