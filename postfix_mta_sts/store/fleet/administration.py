"""What the relays share beside policies: exceptions, checks, and what each says of itself."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.store.fleet.access import StoreAccess
from postfix_mta_sts.store.fleet.bodies import (
    check_body,
    check_of,
    document_body,
    document_of,
    relay_body,
    relay_of,
)
from postfix_mta_sts.store.fleet.clocks import Clocks, Moment
from postfix_mta_sts.store.fleet.engine import DOCUMENT, Kind, Name
from postfix_mta_sts.store.fleet.envelope import Opened, header_of
from postfix_mta_sts.store.fleet.records import Records, latest_of
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    Checks,
    Document,
    Done,
    Due,
    FindDue,
    NoteUses,
    OfferCheck,
    OtherFleet,
    ReadChecks,
    ReadExceptions,
    ReadRelays,
    Relay,
    Relays,
    WriteExceptions,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import Value, replace

EXCEPTIONS_LIFE: Final = 10 * 365 * 86_400.0
"""Seconds; the document stays until it is replaced."""
VERSION_STEPS: Final = 1_000_000
"""By which no document is ahead of another: a version is one change by an administrator."""
VERIFIED_FOR: Final = 60.0
"""Seconds after which the document is read as a whole: its content may have been damaged."""
CHECKS_LIFE: Final = 90 * 86_400.0
"""Seconds that a check is kept; a domain in use is checked again long before."""
CHECKS_LIMIT: Final = 1_000
"""Checks of one page, of at most 16 KiB each."""
RELAYS_LIFE: Final = 7 * 86_400.0
"""Seconds for which a relay that is gone is shown."""
RELAYS_LIMIT: Final = 1_000
"""Relays that are shown."""
_DIGEST_SIZE: Final = 16
"""Bytes."""

T = TypeVar("T")


class _Verified(Value, frozen=True):
    """A document whose signature was valid."""

    header: bytes
    document: Document
    """Without what is in it."""
    until: float
    """By the monotonic clock."""


class Administration:
    """Answers these requests; each method raises `FleetError`."""

    def __init__(
        self, settings: SharedStoreSettings, access: StoreAccess, records: Records, clocks: Clocks
    ) -> None:
        self._settings = settings
        self._access = access
        self._records = records
        self._monotonic = clocks.monotonic
        self._verified: _Verified | None = None

    async def read_exceptions(self, request: ReadExceptions) -> Document | OtherFleet:
        """Read the document of exceptions, if the relay does not have it.

        Of one that was verified lately, its header is enough.
        """
        if request.fleet and request.fleet != self._settings.fleet:
            return OtherFleet()
        last = self._verified
        is_enough = last and _is_known(last.document, request) and self._monotonic() < last.until
        if last and is_enough and await self._records.header(DOCUMENT) == last.header:
            return last.document
        self._verified = None
        _, records = await self._records.read([DOCUMENT])
        record = records.get(DOCUMENT, b"")
        found = self._records.parsed(DOCUMENT, record or None, self._parser(record, request)).value
        if found is None:
            return Document(0, None)
        without = replace(found, exceptions=None, written_by="")
        self._verified = _Verified(header_of(record), without, self._monotonic() + VERIFIED_FOR)
        return found

    def _parser(self, record: bytes, request: ReadExceptions) -> Callable[[Opened], Document]:
        """Return what reads a document, and of one that the relay has no more than its header."""
        keyring = self._settings.keyring
        digest = blake2b(record, digest_size=_DIGEST_SIZE).hexdigest()

        def parse(opened: Opened) -> Document:
            by_other_key = keyring is not None and opened.key_id != keyring.signing[0]
            without = Document(opened.order, None, by_other_key=by_other_key, digest=digest)
            if _is_known(without, request):
                return without
            return replace(document_of(opened), by_other_key=by_other_key, digest=digest)

        return parse

    async def write_exceptions(self, request: WriteExceptions) -> Done | OtherFleet:
        """Replace the document of exceptions by one with a higher version."""
        if request.fleet != self._settings.fleet:
            return OtherFleet()
        moment = await self._records.moment()
        is_kept = await self._records.put(
            DOCUMENT,
            request.version,
            document_body(request.exceptions, self._settings.name),
            moment.after(EXCEPTIONS_LIFE),
            request.version + VERSION_STEPS,
        )
        return Done(is_kept)

    async def offer_check(self, request: OfferCheck) -> Done:
        """Keep the result of a check, if there is no later one."""
        moment = await self._records.moment()
        check = request.check
        is_kept = await self._records.put(
            Name(Kind.CHECK, check.domain),
            moment.order_of(check.checked_at),
            check_body(
                _moved(check, moment.to_store(check.checked_at), moment.to_store(check.since))
            ),
            moment.after(CHECKS_LIFE),
            latest_of(moment),
        )
        return Done(is_kept)

    async def read_checks(self, request: ReadChecks) -> Checks:
        """Read a page of checks."""
        limit = min(request.limit, CHECKS_LIMIT)
        moment, page = await self._page(Kind.CHECK, request.after, limit)

        def parse(key: str) -> Callable[[Opened], Check]:
            return lambda opened: check_of(key, opened, moment.store)

        found = self._parsed(Kind.CHECK, page, parse)
        checks = (
            _moved(each, moment.to_relay(each.checked_at), moment.to_relay(each.since))
            for each in found
        )
        return Checks(tuple(checks), page[-1][0] if page else "")

    async def announce(self, request: Announce) -> Done:
        """Say that this relay is alive."""
        moment = await self._records.moment()
        is_kept = await self._records.put(
            Name(Kind.RELAY, self._settings.name),
            moment.store,
            relay_body(self._settings.name, request.report),
            moment.after(RELAYS_LIFE),
            latest_of(moment),
        )
        return Done(is_kept)

    async def read_relays(self, _request: ReadRelays) -> Relays:
        """Read what the relays say of themselves."""
        moment, page = await self._page(Kind.RELAY, "", RELAYS_LIMIT)

        def parse(key: str) -> Callable[[Opened], Relay]:
            return lambda opened: relay_of(key, opened, moment.store)

        relays = tuple(self._parsed(Kind.RELAY, page, parse))
        return Relays(relays, len(page) - len(relays))

    async def note_uses(self, request: NoteUses) -> Done:
        """Note when domains were asked for, and are due."""
        moment = await self._records.moment()
        asked = {domain: moment.before(each) for domain, each in request.asked_ago.items()}
        due = {domain: moment.after(each) for domain, each in (request.due_in or {}).items()}
        await self._access.write(None, lambda engine: engine.note_uses(asked, due))
        return Done()

    async def find_due(self, request: FindDue) -> Due:
        """Find domains that no relay has renewed in time."""
        moment = await self._records.moment()
        since = moment.before(request.idle_after)
        found = await self._access.read(None, lambda engine: engine.due(since, request.limit))
        return Due(tuple(domain for domain in found if _is_domain(domain)))

    async def _page(
        self, kind: Kind, after: str, limit: int
    ) -> tuple[Moment, Sequence[tuple[str, bytes]]]:
        """Read a page, and then the time: no record of the page is from after it."""
        page = await self._access.read(None, lambda engine: engine.page(kind, after, limit))
        return await self._records.moment(), page

    def _parsed(
        self,
        kind: Kind,
        page: Sequence[tuple[str, bytes]],
        parse: Callable[[str], Callable[[Opened], T]],
    ) -> Iterator[T]:
        """The records of a page that are valid."""
        for key, record in page:
            found = self._records.parsed(Name(kind, key), record, parse(key)).value
            if found is not None:
                yield found


def _is_known(document: Document, request: ReadExceptions) -> bool:
    """Whether the relay that asks needs nothing that is in a document."""
    if document.version == request.above:
        return document.digest == request.digest
    return document.version < request.above


def _is_domain(text: str) -> bool:
    """Whether a key of the store, which is not signed, is a domain in normal form."""
    try:
        return parse_domain(text) == text
    except InvalidDomainError:
        return False


def _moved(check: Check, checked_at: float, since: float) -> Check:
    """A check with its times by another clock."""
    return replace(check, checked_at=checked_at, since=since)
