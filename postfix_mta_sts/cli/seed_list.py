"""A list of domains to look up before Postfix asks: what it says, how fast, what came of each.

Border: who knows a policy already, and who asks the network, is handed in; counting and showing
is the caller's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State

UNDER_WAY: Final = 200
"""Domains that are asked for at the same time at most, however many hang."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

Look: TypeAlias = Callable[[Domain], Awaitable[State | None]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says."""

    domains: tuple[Domain, ...]
    """In its order, without repeats."""
    bad: tuple[tuple[int, str], ...]
    """Lines that name no domain: the number, from 1, and why."""


def listed(data: bytes) -> Listed:
    """The domains of a list in UTF-8, one a line; what follows a # says nothing."""
    domains: dict[Domain, None] = {}  # an ordered set
    bad = []
    for number, line in enumerate(data.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), 1):
        try:
            if text := line.decode("utf-8").partition("#")[0].strip():
                domains[parse_domain(text)] = None
        except UnicodeDecodeError:
            bad.append((number, "not UTF-8"))
        except InvalidDomainError as error:
            bad.append((number, str(error)))
    return Listed(tuple(domains), tuple(bad))


class Rate:
    """Lets so many begin in a second, evenly; what was missed is not made up for."""

    def __init__(
        self,
        per_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = monotonic()

    async def turn(self) -> None:
        """Return when the next may begin."""
        now = self._monotonic()
        begins = max(self._next, now)
        self._next = begins + self._interval
        if begins > now:
            await self._sleep(begins - now)


async def seed(
    domains: Iterable[Domain], known: Look, ask: Look, rate: Rate, told: Callable[[str], None]
) -> None:
    """Ask for each domain of which nothing is `known`, and tell what each came to, in its words.

    A look that is broken off is None. May be cancelled: what was told until then stands.
    """
    room = asyncio.Semaphore(UNDER_WAY)

    async def asked(domain: Domain) -> None:
        try:
            told(outcome(await ask(domain)))
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        for domain in domains:
            if state := await known(domain):
                told(outcome(state))
                continue
            await room.acquire()
            await rate.turn()
            group.create_task(asked(domain), name=f"seed {domain}")


def outcome(state: State | None) -> str:
    """A policy's mode, `no policy`, or `failed: ` and the code of the error."""
    if state and state.policy:
        return state.policy.mode
    code = state.failure.code if state and state.failure else "broken-off"
    return "no policy" if code == NoRecordError.code else f"failed: {code}"
