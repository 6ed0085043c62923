"""For all tests: which event loop they run in."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

BOTH_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of asyncio; both, where marked `asyncio(loop_factories=["asyncio", "uvloop"])`."""
    marks = item.iter_markers("asyncio")
    chosen = any("loop_factories" in mark.kwargs for mark in marks)
    return BOTH_LOOPS if chosen else {"asyncio": asyncio.new_event_loop}
