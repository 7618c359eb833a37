"""The testbed's own errors: raised where the fact is known, printed in one place (`testbed.cli.main`).

Every message is one line that names the file, the place in it and the fix.
"""


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


class NoEngine(MachineCannot):
    """No container engine answers: whatever else is asked of it fails for the same reason."""


def error_of(exit_code: int, words: str) -> TestbedError:
    """What another process of the run said in one line, as the error it was there; else RunInvalid."""
    kinds: dict[int, type[TestbedError]] = {kind.exit_code: kind for kind in (BadInput, MachineCannot)}
    return kinds.get(exit_code, RunInvalid)(words)
