"""Many who ask for one state each → questions for many of them at once, one after the other.

Border: how states are asked for is handed in; a fault of it is told to those who wait. What costs
is the way to the file and its thread, and a deadline for each; the rows cost little.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State

AT_ONCE: Final = 16
"""Domains of one question at most, so that the first does not wait long for the last, and who
comes meanwhile is not behind all of them."""

_State: TypeAlias = asyncio.Future[State | None]
LoadAll: TypeAlias = Callable[[Sequence[Domain]], Awaitable[Mapping[Domain, State]]]


class Batches:
    """Who asks while a question is under way is part of the next."""

    def __init__(self, load_all: LoadAll) -> None:
        self._load_all = load_all
        self._wanted: dict[Domain, list[_State]] = {}
        self._asking: asyncio.Task[None] | None = None

    def load(self, domain: Domain) -> _State:
        """The state of a domain, once it is known; None if there is none."""
        loop = asyncio.get_running_loop()
        state: _State = loop.create_future()
        self._wanted.setdefault(domain, []).append(state)
        if self._asking is None:
            self._asking = loop.create_task(self._ask(), name="store reader")
        return state

    async def _ask(self) -> None:
        while self._wanted:
            batch = {d: self._wanted.pop(d) for d in list(self._wanted)[:AT_ONCE]}
            try:
                found = await self._load_all(list(batch))
            except Exception as error:  # noqa: BLE001 (the top of a task: those who wait are told)
                for state in chain.from_iterable(batch.values()):
                    if not state.done():  # whoever waited may have given up
                        state.set_exception(error)
                continue
            for domain, asking in batch.items():
                for state in asking:
                    if not state.done():
                        state.set_result(found.get(domain))
        self._asking = None
