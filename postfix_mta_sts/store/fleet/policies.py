"""Policies in the shared store: read, claimed, given to the fleet.

Reads of look-ups that arrive together are one round trip, and so are those of looks that can wait.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from postfix_mta_sts.batching import Batcher
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_id
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store.fleet.access import StoreAccess
from postfix_mta_sts.store.fleet.bodies import policy_body, shared_policy
from postfix_mta_sts.store.fleet.clocks import Clocks, Moment
from postfix_mta_sts.store.fleet.engine import SECOND, Claimed, Kind, Name
from postfix_mta_sts.store.fleet.envelope import Opened
from postfix_mta_sts.store.fleet.histories import Histories
from postfix_mta_sts.store.fleet.lease import Leases
from postfix_mta_sts.store.fleet.records import Parsed, Records, latest_of
from postfix_mta_sts.store.fleet.requests import (
    Claim,
    Done,
    Held,
    Look,
    OfferPolicy,
    Release,
    Seen,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import replace

NAMES_LIMIT: Final = 50
"""Policies that are read in one round trip."""
ROUND_TRIPS: Final = 4
"""Of look-ups, at the same time; what is asked for meanwhile is one more afterwards."""
PATIENT_ROUND_TRIPS: Final = 1
"""The same, of looks that can wait."""
Found: TypeAlias = tuple[int, bytes | None]
"""The time of the store, and the record."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A look-up that waits; see `batching.Waiter`."""

    result: asyncio.Future[Found]


class Policies:
    """Answers the requests that concern one domain; each method raises `FleetError`."""

    def __init__(
        self,
        settings: SharedStoreSettings,
        access: StoreAccess,
        records: Records,
        histories: Histories,
        clocks: Clocks,
    ) -> None:
        self._settings = settings
        self._access = access
        self._records = records
        self._clocks = clocks
        self._histories = histories
        self._leases = Leases(settings.budget, access, clocks, self._claimed_policy)
        self._looks = self._batcher(settings.budget, ROUND_TRIPS)
        self._patient_looks = self._batcher(None, PATIENT_ROUND_TRIPS)

    async def look(self, request: Look) -> Seen:
        """Read the policy of a domain."""
        started = self._clocks.monotonic()
        look = _Look(asyncio.get_running_loop().create_future())
        looks = self._patient_looks if request.can_wait else self._looks
        looks.ask(Name(Kind.POLICY, request.domain), look)
        now, record = await look.result
        policy = self._parsed(request.domain, record, now)
        return Seen(policy.value, policy.refused, self._clocks.monotonic() - started)

    async def claim(self, request: Claim) -> Held:
        """Take the lease of a domain, or wait for another relay's policy."""
        return await self._leases.claim(request)

    async def release(self, request: Release) -> Done:
        """Give a lease back."""
        await self._leases.release(request.domain, request.token)
        return Done()

    async def offer(self, request: OfferPolicy) -> Done:
        """Give a fetched policy to the fleet, then what goes with it.

        A policy that other relays would refuse, because it was accepted by earlier rules, is not
        given, nor is one whose age is not known, because the clock of this relay was set. Neither
        is an error.
        """
        started = self._clocks.monotonic()
        try:
            policy, policy_id = parse_policy(request.text.encode()), parse_id(request.policy_id)
            is_kept = request.age >= 0 and await self._give(request, policy, policy_id, started)
        except MtaStsError:
            is_kept = False
        except asyncio.CancelledError:  # the relay stops: see `close`
            self._leases.owe(request.domain, request.token)
            raise
        finally:
            self._leases.let_go(request.token)
        if request.token:
            await self._leases.release(request.domain, request.token)
        return Done(is_kept)

    async def close(self) -> None:
        """Hold no lease any more."""
        await self._leases.close()

    def _batcher(self, limit: float | None, round_trips: int) -> Batcher[Name, Found, _Look]:
        """Looks whose round trips have a limit; see `StoreAccess.read`."""

        async def read_all(names: Sequence[Name]) -> Mapping[Name, Found]:
            read = await self._access.read(limit, lambda engine: engine.read(names))
            return {name: (read.now, read.records.get(name)) for name in names}

        return Batcher(read_all, _answer, size=NAMES_LIMIT, concurrency=round_trips, enough=1)

    def _claimed_policy(self, domain: Domain, claimed: Claimed) -> SharedPolicy | None:
        return self._parsed(domain, claimed.policy, claimed.now).value

    def _parsed(self, domain: Domain, record: bytes | None, now: int) -> Parsed[SharedPolicy]:
        def parse(opened: Opened) -> SharedPolicy | None:
            return shared_policy(domain, opened, now)

        return self._records.parsed(Name(Kind.POLICY, domain), record, parse)

    async def _give(
        self, offered: OfferPolicy, policy: Policy, policy_id: PolicyId, started: float
    ) -> bool:
        """Put a policy, then note it and its use; return whether it is kept."""
        known = await self._histories.known(offered.domain)
        request = _later(offered, self._clocks.monotonic() - started)
        fetched = known.moment.before(_most(request, known.moment))
        is_kept = await self._put_policy(request, policy, fetched, known.moment)
        await _all(
            self._histories.add(known, policy, policy_id, fetched),
            self._note_use(request, known.moment, is_kept=is_kept),
        )
        return is_kept

    async def _put_policy(
        self, request: OfferPolicy, policy: Policy, order: int, moment: Moment
    ) -> bool:
        expires_at = order + policy.max_age * SECOND
        if expires_at <= moment.store:
            return False
        body = policy_body(
            request.domain,
            request.text,
            request.policy_id,
            self._settings.name,
            is_own_fetch=request.is_measured,
        )
        name = Name(Kind.POLICY, request.domain)
        return await self._records.put(name, order, body, expires_at, latest_of(moment))

    async def _note_use(self, request: OfferPolicy, moment: Moment, *, is_kept: bool) -> None:
        """Note the use, and when the domain is due, unless a newer policy has said that."""
        ago = request.asked_ago
        asked = {} if ago is None else {request.domain: moment.before(ago)}
        due = {request.domain: moment.after(request.due_in)} if is_kept else {}
        if asked or due:
            await self._access.write(None, lambda engine: engine.note_uses(asked, due))


def _later(request: OfferPolicy, seconds: float) -> OfferPolicy:
    """The request as it would be now: the time of the store may have been read seconds after it."""
    ago = request.asked_ago
    return replace(
        request,
        age=request.age + seconds,
        due_in=max(0.0, request.due_in - seconds),
        asked_ago=None if ago is None else ago + seconds,
    )


def _most(request: OfferPolicy, moment: Moment) -> float:
    """The age of a policy, at most: the clock of this relay may have been set back since."""
    return request.age if request.is_measured else request.age + moment.behind


def _answer(look: _Look, found: Found) -> None:
    look.result.set_result(found)


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Do all, also if one fails; then raise what the first has raised."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if outcome:
            raise outcome
