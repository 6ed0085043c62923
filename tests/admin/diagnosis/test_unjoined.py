"""Functions that block, in a thread for which nothing waits at the end."""

import asyncio
from threading import Event

import pytest

from postfix_mta_sts.admin.diagnosis.unjoined import in_thread


def test_result() -> None:
    """What the function returns is returned."""
    assert asyncio.run(in_thread(lambda: 7)) == 7


def test_error() -> None:
    """What it raises is raised."""

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(in_thread(fail))


def test_cancelled() -> None:
    """`asyncio.run` ends although the function still blocks, which then ends in silence."""
    goes_on, ended = Event(), Event()

    def block() -> None:
        goes_on.wait()
        ended.set()

    async def run() -> None:
        task = asyncio.create_task(in_thread(block))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(30)
