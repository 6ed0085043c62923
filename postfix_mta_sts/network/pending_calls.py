"""The calls that a network process has not finished, by their numbers.

`process` sends the calls and receives what is passed on here. A call leaves by `remove` alone,
however it ends.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.messages import AnyCall, Failed, Progress, Result

OnProgress: TypeAlias = Callable[[Progress | None], None]
"""Gets the progress of a call; None: what it had found is lost, or may be all that it will find,
because of the process, and not of a server that was asked."""


class LostCallError(Exception):
    """The process has ended before it finished a call."""


class CutOffError(Exception):
    """The process was stopped before it finished a call, because another one is in use."""


@dataclass(eq=False, slots=True)
class _Pending:
    """A call that is not finished."""

    result: asyncio.Future[Any]
    on_progress: OnProgress | None
    deadline: float
    """By the clock of the event loop."""


class PendingCalls:
    """Each call has a future for the value of its result, or for the error with which it fails."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Pending] = {}
        self._none = asyncio.Event()

    def __len__(self) -> int:
        return len(self._calls)

    def next_number(self) -> int:
        """The number of the next call."""
        return next(self._numbers)

    def add(
        self, call: AnyCall, seconds: float, on_progress: OnProgress | None
    ) -> asyncio.Future[Any]:
        """The future result of a call that may last this long."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()
        self._calls[call.number] = _Pending(result, on_progress, loop.time() + seconds)
        self._none.clear()
        return result

    def remove(self, number: int) -> None:
        """Forget a call, finished or not."""
        del self._calls[number]
        if not self._calls:
            self._none.set()

    def report(self, progress: Progress) -> None:
        """Pass progress on, unless the call was removed."""
        call = self._calls.get(progress.number)
        if call and call.on_progress:
            call.on_progress(progress)

    def lose_progress(self) -> None:
        """Tell each call that it may find no more than it has found."""
        for call in list(self._calls.values()):
            if call.on_progress:
                call.on_progress(None)

    def finish(self, answer: Result | Failed) -> None:
        """Set the result of a call, unless it was removed."""
        call = self._calls.get(answer.number)
        if call is None or call.result.done():
            return
        if isinstance(answer, Failed):
            call.result.set_exception(answer.error)
        else:
            call.result.set_result(answer.value)

    def time_out(self) -> Iterator[int]:
        """Fail the calls that are past their deadline; yield their numbers."""
        now = asyncio.get_running_loop().time()
        for number, call in self._calls.items():
            if now >= call.deadline and not call.result.done():
                error = OwnFaultError("the network process did not end the call in time")
                call.result.set_exception(error)
                yield number

    def fail(self, error: type[Exception]) -> None:
        """Fail all calls with this error."""
        for call in self._calls.values():
            if not call.result.done():
                call.result.set_exception(error())

    def cancel(self) -> None:
        """Cancel all calls."""
        for call in self._calls.values():
            call.result.cancel()

    async def wait_until_none(self) -> None:
        """Wait until all calls are removed."""
        while self._calls:
            await self._none.wait()
