"""For all tests: the event loop, hypothesis without time limits, and two fixtures."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from tests.support.control import ControlledDaemon, Operator
from tests.support.internet import Internet, internet

# A shell makes its background jobs ignore SIGINT; processes started by tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is not an error: hypothesis checks how long an example takes by default.
settings.register_profile(
    "busy machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")
# For other versions of Python and of libraries: there the properties are not what is in question.
settings.register_profile("few", settings.get_profile("busy machine"), max_examples=20)

E2E = tuple(Path(__file__).with_name(folder) for folder in ("e2e", "fleet"))
"""Folders whose tests need root, Debian's packages or minutes: each has the mark `e2e`."""

BOTH_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of these folders, before `-m` selects."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in E2E):
            item.add_marker("e2e")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of asyncio; both loops if marked `asyncio(loop_factories=["asyncio", "uvloop"])`."""
    marks = item.iter_markers("asyncio")
    chosen = any("loop_factories" in mark.kwargs for mark in marks)
    return BOTH_LOOPS if chosen else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def uncovered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No measurement of coverage in a test that does the same thing thousands of times.

    It takes three quarters of the time of such a test. Other tests run the same lines. (The mark
    `no_cover` of pytest-cov has no effect in a worker of pytest-xdist.)
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # for processes of the test
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """A local Internet in which good.test has a policy."""
    async with internet(tmp_path) as net:
        net.publish("good.test")
        yield net


@pytest.fixture
async def operator(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Operator]:
    """Runs commands against the daemon of the test."""
    async with daemon.controlled(tmp_path) as path:
        yield Operator(path, capsys)
