"""Functions that block, in a thread for which nothing waits at the end."""

import asyncio
import subprocess
import sys
from threading import Event, current_thread

import pytest

from postfix_mta_sts.admin.diagnosis.unjoined import do_not_join, in_thread


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


class TestLibraries:
    """Threads that others start, such as `loop.getaddrinfo`."""

    def test_result_and_error(self) -> None:
        """What the function returns or raises arrives, from a daemon thread."""

        async def run() -> bool:
            do_not_join()
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(lambda: 1 / 0)
            return await asyncio.to_thread(lambda: current_thread().daemon)

        assert asyncio.run(run())

    def test_the_loop_ends(self) -> None:
        """`asyncio.run` ends although a function still blocks."""
        goes_on, ended = Event(), Event()

        def block() -> None:
            goes_on.wait()
            ended.set()

        async def run() -> None:
            do_not_join()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.to_thread(block)

        asyncio.run(run())
        assert not ended.is_set()
        goes_on.set()
        assert ended.wait(30)

    def test_the_interpreter_ends(self) -> None:
        """A program ends although a name look-up still blocks."""
        program = (
            "import asyncio, socket, time\n"
            "from postfix_mta_sts.admin.diagnosis.unjoined import do_not_join\n"
            "socket.getaddrinfo = lambda *_, **__: time.sleep(3600)\n"
            "async def run():\n"
            "    do_not_join()\n"
            "    try:\n"
            "        async with asyncio.timeout(0.01):\n"
            "            await asyncio.get_running_loop().getaddrinfo('x.test', None)\n"
            "    except TimeoutError:\n"
            "        print('late')\n"
            "asyncio.run(run())\n"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("late\n", "", 0)
