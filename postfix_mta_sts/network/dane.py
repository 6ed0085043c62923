"""Look up DANE for a domain: its MX RRset, the addresses of each host, their TLSA records.

Follows RFC 7672 §2.2 step by step, and no further than DNSSEC proves: an answer that is not signed
ends its branch. `dnssec` sends the queries; `mtasts.dane` draws the conclusions.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias, TypeVar

from postfix_mta_sts.mtasts.dane import MAX_HOSTS, DaneOutcome, Host, HostState, MxState, is_usable
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dns_message import MAX_TTL, Mx, RecordType, Tlsa
from postfix_mta_sts.network.dnssec import DnssecAnswer, DnssecClient
from postfix_mta_sts.network.own_faults import late_fault
from postfix_mta_sts.network.own_limits import Places, own_shares
from postfix_mta_sts.values import replace

HOSTS_AT_ONCE: Final = 4
"""MX hosts of one domain that are looked up in parallel."""
LONGEST: Final = 4
"""The time for all queries about one domain, as a multiple of the timeout for one query."""
OTHER_FAMILY: Final = 0.1
"""The share of the timeout after which the other address family is queried, too. Shorter than that
of a second try, for the first answer may be lost; longer than most answers take."""
PENDING: Final = "no answer yet"
"""The step of a host whose look-up is not finished, in an outcome passed to `on_progress`."""


@dataclass(frozen=True, slots=True)
class HostTlsa:
    """The secure TLSA records of an MX host, usable or not."""

    host: str
    base: str
    """The name whose records count: the end of a CNAME chain, or the host itself."""
    records: Sequence[Tlsa]


OnProgress: TypeAlias = Callable[[DaneOutcome], None]
OnTlsa: TypeAlias = Callable[[HostTlsa], None]

_Addresses: TypeAlias = DnssecAnswer[str] | DiscoveryError
"""The answer for one address family, or the reason why there is none."""

_NO_HOST: Final = "."  # RFC 7505

T = TypeVar("T")


class DaneClient:
    """Looks up DANE at a validating resolver.

    Each query has the timeout of `DnssecClient`, and all those about one domain `LONGEST` times as
    much. Hosts that are not finished then have failed. Look-ups wait for each other when
    `own_limits` has no sockets for more.
    """

    def __init__(self, dns: DnssecClient) -> None:
        self._dns = dns
        shares = own_shares()
        self._slots = asyncio.Semaphore(shares.look_ups)
        self._places = Places(shares.more_hosts)  # for hosts beside the first one of each domain

    async def look_up_dane(
        self,
        domain: Domain,
        on_progress: OnProgress | None = None,
        on_tlsa: OnTlsa | None = None,
    ) -> DaneOutcome:
        """Look up the mail hosts of a domain; a DNS failure is an outcome too.

        Raises `OwnFaultError`.

        A domain whose MX RRset is not signed costs one query: its hosts are not looked up, though
        RFC 7672 §2.2.1 would allow it, because an attacker who forges MX records can name hosts
        that have good TLSA records.

        `on_progress` gets the outcome so far: once when the MX RRset is found to be signed and
        there are hosts, and again as each host but the last is finished. Unfinished hosts are
        FAILED, with the step `PENDING`. `on_tlsa` gets the records of each host that has some.
        """
        async with self._slots:
            return await self._look_up(domain, on_progress, on_tlsa)

    async def look_up_hosts(
        self, names: Sequence[str], on_tlsa: OnTlsa | None = None
    ) -> Sequence[Host]:
        """Look up hosts whose MX RRset is not signed, or that have none; see `look_up_dane`.

        The daemon does not ask this. Postfix does, for a next-hop in brackets, and for hosts behind
        an MX RRset that is not signed (smtp_tls_insecure_mx_policy in postconf(5)).
        """
        async with self._slots:
            lookups = _HostLookups(self._dns, MAX_TTL, names, self._places, on_tlsa)
            await self._run(lookups, asyncio.get_running_loop().time(), _ignore)
            return lookups.hosts

    async def _look_up(
        self, domain: Domain, on_progress: OnProgress | None, on_tlsa: OnTlsa | None
    ) -> DaneOutcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self._dns.mx(domain)
        except DnsFailureError as error:
            return DaneOutcome(MxState.FAILED, str(error))
        step = f"MX of {domain}: {_describe(answer)}"
        if not answer.secure:
            return DaneOutcome(MxState.INSECURE, step, ttl=answer.ttl)
        names = _names(domain, answer)
        lookups = _HostLookups(self._dns, answer.ttl, names, self._places, on_tlsa)
        so_far = partial(_signed, step, lookups)
        # A query takes its timeout at most; if it took longer, this process stood still.
        began = max(began, loop.time() - self._dns.timeout)
        await self._run(lookups, began, lambda: on_progress(so_far()) if on_progress else None)
        return so_far()

    async def _run(
        self, lookups: "_HostLookups", began: float, on_progress: Callable[[], None]
    ) -> None:
        """Look up the hosts in the time for one domain; raises `OwnFaultError`."""
        limit = LONGEST * self._dns.timeout
        end = began + limit
        try:
            async with asyncio.timeout_at(end):
                await lookups.run(on_progress)
        except TimeoutError:
            lookups.give_up(f"not finished within {limit:g} s")
            due = min(end, lookups.asked_at + self._dns.timeout)
            lookups.fault = lookups.fault or late_fault(due)
        if lookups.fault:
            raise lookups.fault


class _HostLookups:
    """The look-ups of one domain's hosts.

    `hosts` has their results, in order of preference; `ttl` is the lowest TTL of all answers;
    `asked_at` is when the last query began, by the clock of the event loop.
    """

    def __init__(
        self,
        dns: DnssecClient,
        ttl: int,
        names: Sequence[str],
        places: Places,
        on_tlsa: OnTlsa | None,
    ) -> None:
        self.ttl = ttl
        self.asked_at = asyncio.get_running_loop().time()
        self.fault: OwnFaultError | None = None
        self.hosts = [Host(name, HostState.FAILED, PENDING) for name in names[:MAX_HOSTS]]
        self._dns = dns
        self._places = places
        self._on_tlsa = on_tlsa
        self._pending = len(self.hosts)
        self._waiting = deque(range(self._pending))
        self._lanes = 0
        if more := names[MAX_HOSTS:]:
            step = f"{len(more)} more MX hosts than {MAX_HOSTS} are not looked up"
            self.hosts.append(Host(more[0], HostState.SKIPPED, step))

    async def run(self, on_progress: Callable[[], None]) -> None:
        """Look up each host; call `on_progress` before the first result and between two."""
        if self._pending:
            on_progress()
            async with asyncio.TaskGroup() as group:
                await self._lane(group, on_progress)

    def give_up(self, reason: str) -> None:
        """Set the step of the hosts that are not finished."""
        self.hosts = [replace(h, step=reason) if h.step == PENDING else h for h in self.hosts]

    async def _lane(self, group: asyncio.TaskGroup, on_progress: Callable[[], None]) -> None:
        """Look up one host after the other, and begin further lanes where there is room."""
        self._lanes += 1
        while self._waiting:
            index = self._waiting.popleft()
            if self._waiting and self._lanes < HOSTS_AT_ONCE and self._places.take():
                lane = group.create_task(self._lane(group, on_progress))
                lane.add_done_callback(lambda _: self._places.release())
            self.hosts[index] = await self._host(self.hosts[index].name)
            self._pending -= 1
            if self._pending:
                on_progress()

    async def _host(self, name: str) -> Host:
        try:
            return await self._look_up(name)
        except DnsFailureError as error:
            return Host(name, HostState.FAILED, str(error))
        except OwnFaultError as error:  # it says nothing about the host
            self.fault = error
            return Host(name, HostState.FAILED, str(error))

    async def _look_up(self, name: str) -> Host:
        addresses = await self._addresses(name)
        if not addresses.secure and not await self._is_secure_alias(name, addresses):
            return Host(name, HostState.INSECURE, f"addresses of {name}: {_describe(addresses)}")
        if addresses.secure and not addresses.records:
            return Host(name, HostState.GONE, f"addresses of {name}: {_describe(addresses)}")
        # §2.2.2: if all CNAMEs are signed, first the name that they lead to, then the first name.
        bases = [addresses.name, name] if addresses.secure else [name]
        return await self._with_tlsa(name, list(dict.fromkeys(bases)))

    async def _addresses(self, name: str) -> DnssecAnswer[str]:
        """Query A, and AAAA if that fails, is slow or has no record: each proves the same."""
        families = [asyncio.create_task(self._family(name, RecordType.A))]
        try:
            done, _ = await asyncio.wait(families, timeout=OTHER_FAMILY * self._dns.timeout)
            if not any(_decides(family.result()) for family in done):
                families.append(asyncio.create_task(self._family(name, RecordType.AAAA)))
            for family in asyncio.as_completed(families):
                if _decides(await family):
                    break
            found = _best([family.result() for family in families if family.done()])
        finally:
            for each in families:
                each.cancel()
            families.clear()  # an error in a result refers to this frame
        self.ttl = min(self.ttl, found.ttl)
        return found

    async def _family(self, name: str, kind: Literal[RecordType.A, RecordType.AAAA]) -> _Addresses:
        self._note_query()
        try:
            return await self._dns.addresses(name, kind)
        except (DnsFailureError, OwnFaultError) as error:
            return error.with_traceback(None)  # else a cycle: it refers to this frame

    async def _is_secure_alias(self, name: str, addresses: DnssecAnswer[str]) -> bool:
        """Whether this name has a signed CNAME that leads to an unsigned zone (§2.2.2)."""
        if addresses.name == name:
            return False
        alias = await self._ask(self._dns.alias(name))
        return alias.secure and bool(alias.records)

    async def _with_tlsa(self, name: str, bases: Sequence[str]) -> Host:
        """Evaluate the TLSA records of the first of these names that has some."""
        state, step = HostState.ABSENT, ""
        for base in bases:
            answer = await self._ask(self._dns.tlsa(f"_25._tcp.{base}"))
            step = f"TLSA of _25._tcp.{base}: {_describe(answer)}"
            if answer.secure and answer.records:
                if self._on_tlsa:
                    self._on_tlsa(HostTlsa(name, base, answer.records))
                good = [is_usable(r.usage, r.selector, r.matching, r.data) for r in answer.records]
                state = HostState.USABLE if any(good) else HostState.UNUSABLE
                return Host(name, state, f"{step}, {sum(good)} usable")
            state = HostState.ABSENT if answer.secure else HostState.INSECURE
        return Host(name, state, step)

    async def _ask(self, question: Awaitable[DnssecAnswer[T]]) -> DnssecAnswer[T]:
        self._note_query()
        answer = await question
        self.ttl = min(self.ttl, answer.ttl)
        return answer

    def _note_query(self) -> None:
        self.asked_at = asyncio.get_running_loop().time()


def _ignore() -> None:
    pass


def _signed(step: str, lookups: _HostLookups) -> DaneOutcome:
    """The outcome so far of a domain whose MX RRset is signed."""
    return DaneOutcome(MxState.SECURE, step, tuple(lookups.hosts), lookups.ttl)


def _names(domain: Domain, answer: DnssecAnswer[Mx]) -> list[str]:
    """The mail hosts, most preferred first; without MX records, the domain itself."""
    if not answer.records:
        return [domain] if answer.exists else []  # RFC 5321 §5.1
    records = sorted(answer.records, key=lambda record: (record.preference, record.host))
    return [name for name in dict.fromkeys(r.host for r in records) if name != _NO_HOST]


def _decides(outcome: _Addresses) -> bool:
    """Whether the other address family cannot say anything else about the host."""
    if isinstance(outcome, DiscoveryError):
        return False
    return bool(outcome.records) or not outcome.secure or not outcome.exists


def _best(outcomes: Sequence[_Addresses]) -> DnssecAnswer[str]:
    """The answer that decides; raises what leaves the question open, an own fault first."""
    best = min(outcomes, key=_rank)
    if isinstance(best, DnssecAnswer):
        return best
    try:
        raise best
    finally:
        del best, outcomes  # else a cycle: its traceback refers to this frame


def _rank(outcome: _Addresses) -> int:
    if isinstance(outcome, DnssecAnswer):
        return 0 if _decides(outcome) else 3
    return 1 if isinstance(outcome, OwnFaultError) else 2


def _describe(answer: DnssecAnswer[T]) -> str:
    """An answer as text."""
    absent = "NODATA" if answer.exists else "NXDOMAIN"
    found = f"{len(answer.records)} found" if answer.records else absent
    return f"{found}, {'signed' if answer.secure else 'not signed'}"
