"""The client of the shared store: it answers the requests of the daemon, and never fails.

`access` calls the store, `records` opens and signs what is in it, `policies`, `histories` and
`administration` know what each request means. This file puts them together.
"""

import asyncio

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.access import OpenEngine, StoreAccess
from postfix_mta_sts.store.fleet.administration import Administration
from postfix_mta_sts.store.fleet.clocks import Clocks
from postfix_mta_sts.store.fleet.errors import FleetError, PausedError
from postfix_mta_sts.store.fleet.histories import Histories
from postfix_mta_sts.store.fleet.limits import limit_of
from postfix_mta_sts.store.fleet.policies import Policies
from postfix_mta_sts.store.fleet.records import Records
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    Claim,
    FindDue,
    Look,
    NoteUses,
    OfferCheck,
    OfferPolicy,
    ReadChecks,
    ReadExceptions,
    ReadHistory,
    ReadRelays,
    Release,
    StoreCondition,
    Unavailable,
    WriteExceptions,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings


class FleetClient:
    """The shared store with these settings; call `start` for an early connection, `close` last."""

    def __init__(
        self,
        settings: SharedStoreSettings,
        open_engine: OpenEngine,
        clocks: Clocks | None = None,
    ) -> None:
        clocks = clocks or Clocks()
        self._access = StoreAccess(settings, open_engine, clocks.monotonic)
        records = Records(settings, self._access, clocks)
        self._histories = Histories(records)
        self._policies = Policies(settings, self._access, records, self._histories, clocks)
        self._administration = Administration(settings, self._access, records, clocks)

    @property
    def condition(self) -> StoreCondition:
        """Whether the store works, as far as is known."""
        return self._access.condition

    @property
    def problem(self) -> str:
        """Why the store is not used for everything; empty: it works, as far as is known."""
        return self.condition.problem

    def start(self) -> None:
        """Connect behind everything else; otherwise the first request does."""
        self._access.start()

    async def first_connection(self) -> None:
        """Wait until the connection that `start` began to open stands, or has failed."""
        await self._access.first_connection()

    async def answer(self, request: AnyRequest) -> AnyAnswer:
        """Do what the daemon asks for; `Unavailable` if the store does not do it in time."""
        limit = limit_of(request)
        try:
            # The calls of a claim end in time; cut off, they would say nothing of the store.
            async with asyncio.timeout(None if isinstance(request, Claim) else limit):
                return await self._answer(request)
        except TimeoutError:
            return Unavailable(f"no answer within {limit:.3g} s")
        except FleetError as error:
            was_asked = not isinstance(error, PausedError)
            return Unavailable(printable(str(error)), was_asked)

    async def close(self) -> None:
        """Hold no lease any more, and close the connections."""
        await self._policies.close()
        await self._access.close()

    async def _answer(self, request: AnyRequest) -> AnyAnswer:
        match request:
            case Look():
                return await self._policies.look(request)
            case Claim():
                return await self._policies.claim(request)
            case Release():
                return await self._policies.release(request)
            case OfferPolicy():
                return await self._policies.offer(request)
            case ReadHistory():
                return await self._histories.read(request)
        return await self._answer_administration(request)

    async def _answer_administration(  # noqa: PLR0911 (one per request)
        self,
        request: ReadExceptions
        | WriteExceptions
        | OfferCheck
        | ReadChecks
        | Announce
        | ReadRelays
        | NoteUses
        | FindDue,
    ) -> AnyAnswer:
        match request:
            case ReadExceptions():
                return await self._administration.read_exceptions(request)
            case WriteExceptions():
                return await self._administration.write_exceptions(request)
            case OfferCheck():
                return await self._administration.offer_check(request)
            case ReadChecks():
                return await self._administration.read_checks(request)
            case Announce():
                return await self._administration.announce(request)
            case ReadRelays():
                return await self._administration.read_relays(request)
            case NoteUses():
                return await self._administration.note_uses(request)
            case FindDue():
                return await self._administration.find_due(request)
