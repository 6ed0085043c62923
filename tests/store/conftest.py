"""Fixtures for the tests of `FailsafeStore`."""

import logging
from collections.abc import AsyncIterator, Callable

import pytest

from postfix_mta_sts.store.failsafe import FailsafeStore
from tests.support.faulty_store import QUICK_RETRY, Backends, opened


@pytest.fixture
def backends() -> Backends:
    """Where a store gets its backends from."""
    return Backends()


@pytest.fixture
async def store(backends: Backends) -> AsyncIterator[FailsafeStore]:
    """An open store that retries every hundredth of a second."""
    async with opened(backends, QUICK_RETRY) as new:
        yield new


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns the lines that were logged at INFO and above, each with its level."""
    caplog.set_level(logging.INFO)
    return lambda: [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
