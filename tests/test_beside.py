"""A second event loop: what is called there comes back here, and holds up nothing here."""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from postfix_mta_sts.beside import NICENESS, Beside

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def where() -> tuple[threading.Thread, type]:
    """The thread and the kind of loop in which this runs."""
    return threading.current_thread(), type(asyncio.get_running_loop())


async def test_another_thread_the_same_kind_of_loop() -> None:
    """The coroutine runs elsewhere, as it would here."""
    async with Beside() as beside:
        thread, kind = await beside.call(where)
    assert thread is not threading.current_thread()
    assert kind is type(asyncio.get_running_loop())
    assert not thread.is_alive()


async def test_arguments_and_result() -> None:
    """Arguments go there, the result comes back."""

    async def doubled(number: int, name: str) -> str:
        await asyncio.sleep(0)
        return name * number

    async with Beside() as beside:
        assert await beside.call(doubled, 2, "a") == "aa"


async def test_an_error_comes_back() -> None:
    """What is raised there is raised here."""

    async def faulty() -> None:
        raise ZeroDivisionError("there")

    async with Beside() as beside:
        with pytest.raises(ZeroDivisionError, match="there"):
            await beside.call(faulty)


async def test_this_loop_goes_on_while_the_other_computes() -> None:
    """A computation there of which nothing is awaited lets calls here come through."""
    stop = threading.Event()

    async def busy() -> int:
        turns = 0
        while not stop.is_set():
            turns += 1
        return turns

    async with Beside() as beside:
        call = asyncio.create_task(beside.call(busy))
        for _ in range(20):
            await asyncio.sleep(0.001)
        stop.set()
        assert await call > 0


async def test_cancelled_here_is_cancelled_there() -> None:
    """Whoever gives up waiting ends the work, also where it has only just been called for."""
    ended = threading.Event()
    begun = threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Beside() as beside:
        call = asyncio.create_task(beside.call(endless))
        assert await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(ended.wait, 10)
        early = asyncio.create_task(beside.call(endless))
        await asyncio.sleep(0)
        early.cancel()
        with pytest.raises(asyncio.CancelledError):
            await early


async def test_late_errors_are_nobodys() -> None:
    """What is raised there after the caller has given up troubles no one."""
    begun, ended = threading.Event(), threading.Event()

    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise ZeroDivisionError from None

    async with Beside() as beside:
        call = asyncio.create_task(beside.call(stubborn))
        assert await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(ended.wait, 10)


async def test_the_end_cancels_what_is_under_way() -> None:
    """Those who wait for it are told."""
    async with Beside() as beside:
        begun = threading.Event()

        async def endless() -> None:
            begun.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(beside.call(endless))
        assert await asyncio.to_thread(begun.wait, 10)
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_no_call_after_the_end() -> None:
    """Nobody waits for a loop that has ended."""
    async with Beside() as beside:
        pass
    with pytest.raises(RuntimeError, match="ended"):
        await beside.call(where)


async def test_calls_of_one_round_cross_together() -> None:
    """However many are called for at once, the other thread is woken once; all get their own."""

    async def same(number: int) -> int:
        return number

    async with Beside() as beside:
        original, crossed = beside._there._cross, []

        def counted() -> None:
            crossed.append(len(beside._there._calls))
            original()

        beside._there._cross = counted  # type: ignore[method-assign] # of this one alone
        assert await asyncio.gather(*(beside.call(same, n) for n in range(50))) == [*range(50)]
        assert crossed == [50]


async def test_a_call_that_cannot_begin_is_alone_with_it() -> None:
    """What goes wrong with one of the calls that cross together leaves the others be."""

    def faulty(_: int) -> Coroutine[None, None, int]:
        raise ZeroDivisionError

    async def same(number: int) -> int:
        return number

    async with Beside() as beside:
        calls = [asyncio.create_task(beside.call(f, 7)) for f in (same, faulty, same)]
        assert await calls[0] == await calls[2] == 7
        with pytest.raises(ZeroDivisionError):
            await calls[1]


async def test_the_second_thread_gives_way() -> None:
    """It is nicer than the first by so much, and leaves that one as it was."""
    before = os.getpriority(os.PRIO_PROCESS, 0)

    async def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)  # 0: of the thread that asks

    async with Beside() as beside:
        there = await beside.call(niceness)
    assert there == min(19, before + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


async def test_contexts_are_entered_and_left_there() -> None:
    """What is bound to a loop begins and ends on the same one."""
    seen: list[threading.Thread] = []

    @asynccontextmanager
    async def bound() -> AsyncIterator[str]:
        seen.append(threading.current_thread())
        yield "inside"
        seen.append(threading.current_thread())

    async with Beside() as beside:
        async with AsyncExitStack() as stack:
            assert await beside.enter(stack, bound()) == "inside"
            assert len(seen) == 1
        assert len(seen) == 2
        assert seen[0] is seen[1] is not threading.current_thread()


class UnheardError(LookupError):
    """An error that nothing else raises."""


async def test_an_error_leaves_nothing_to_the_collector() -> None:
    """No frame that it holds holds it: it is gone as soon as it was caught."""

    async def fail() -> None:
        raise UnheardError

    async with Beside() as beside:
        gc.disable()
        try:
            with suppress(UnheardError):
                await beside.call(fail)
            await beside.call(asyncio.sleep, 0)  # the other thread has let go of it as well
            assert not [found for found in gc.get_objects() if type(found) is UnheardError]
        finally:
            gc.enable()
