"""What is brought up is taken down whole, and a failure is told by its cause, found before anything is taken down."""

from __future__ import annotations

import pytest

from testbed.errors import RunInvalid
from testbed.system.broughtup import BroughtUp


class Two(BroughtUp):
    """Two parts; `fails`: the second cannot be made. `cause` is what a failure is a consequence of."""

    def __init__(self, fails: bool = False, cause: Exception | None = None) -> None:
        self.parts: list[str] = []
        self.looked_at: list[tuple[list[str], BaseException | None]] = []
        self._fails, self._cause = fails, cause

    def _bring_up(self) -> None:
        self.parts.append("first")
        if self._fails:
            raise OSError("no second")
        self.parts.append("second")

    def _raise_cause(self, error: BaseException | None) -> None:
        self.looked_at.append(([*self.parts], error))
        if error is not None and self._cause is not None:
            raise self._cause from error

    def close(self) -> None:
        self.parts.clear()


def test_an_orderly_end_takes_all_down() -> None:
    with Two(cause=RunInvalid("never")) as two:
        assert two.parts == ["first", "second"]
    assert two.parts == [] and two.looked_at == [(["first", "second"], None)]


@pytest.mark.parametrize("cause", [None, RunInvalid("the fabric died")])
def test_a_part_that_cannot_be_made_takes_the_others_down(cause: Exception | None) -> None:
    two = Two(fails=True, cause=cause)
    with pytest.raises(OSError if cause is None else RunInvalid) as raised, two:
        pytest.fail("it is not up")
    assert two.parts == [] and [parts for parts, _ in two.looked_at] == [["first"]]
    assert cause is None or isinstance(raised.value.__cause__, OSError)


def test_what_goes_wrong_inside_is_told_by_its_cause() -> None:
    two = Two(cause=RunInvalid("the fabric died"))
    with pytest.raises(RunInvalid, match="the fabric died") as raised, two:
        raise KeyError("a consequence")
    assert isinstance(raised.value.__cause__, KeyError)
    assert two.parts == [] and two.looked_at[0][0] == ["first", "second"]
