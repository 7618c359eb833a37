"""The pytest plugin `pytest-shaped`: the fixture `shaped_network`, marks, and a skip that says what the machine lacks.

pytest loads this in every session of whoever has the testbed installed, so it imports nothing but pytest until a test
asks for a network. Rules kept: a test without its network is skipped with the reason, or fails under
`--shaped-required`; never passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import pytest

FIXTURE = "shaped_network"
MARK, ONLY = "shaped", "shaped_fabric"
FABRICS = ("auto", "netem", "relay", "lab")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("shaped", "networks with shaped links (wan-testbed)")
    group.addoption("--shaped-fabric", choices=FABRICS, default="auto", help="how links are shaped; auto: what works")
    group.addoption("--shaped-required", action="store_true", help="fail where no network can be made, do not skip")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: uses a network with shaped links; set on all that use `{FIXTURE}`")
    config.addinivalue_line("markers", f"{ONLY}(name, ...): only on these fabrics: netem, relay, lab")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker(MARK)


@pytest.fixture(scope="session")
def shaped_machine(pytestconfig: pytest.Config) -> tuple[Any, str]:
    """Which fabric this machine offers, and why: looked for once a session."""
    from testbed.api.shaped import find_fabric
    from testbed.errors import MachineCannot

    try:
        return find_fabric(pytestconfig.getoption("--shaped-fabric"))
    except MachineCannot as lacking:
        _without(pytestconfig, str(lacking))


@pytest.fixture
def shaped_network(shaped_machine: tuple[Any, str], request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes a network: `network = shaped_network("two-sites")`. It stands until the test ends.

    Arguments are those of `testbed.shaped_network`.
    """
    from testbed.api.shaped import shaped_network as make
    from testbed.errors import MachineCannot

    name, why = shaped_machine
    only = [str(one) for mark in request.node.iter_markers(ONLY) for one in mark.args]
    if only and name not in only:
        _without(request.config, f"the test is for {' and '.join(only)}; here links are shaped by {name} ({why})")
    with ExitStack() as standing:

        def shaped(topology: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return standing.enter_context(make(topology, *arguments, **{"fabric": shaped_machine, **options}))
            except MachineCannot as lacking:
                _without(request.config, str(lacking))

        yield shaped


def _without(config: pytest.Config, reason: str) -> NoReturn:
    if config.getoption("--shaped-required"):
        pytest.fail(f"{FIXTURE}: {reason}", pytrace=False)
    pytest.skip(f"{FIXTURE}: {reason}")
