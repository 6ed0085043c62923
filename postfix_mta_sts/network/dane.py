"""Find out what DANE says of a domain: its MX RRset, each host's addresses, their TLSA records.

Border: RFC 7672 §2.2 step by step, and no step further than the proof reaches: what is not signed
ends its branch. How the DNS is asked is a matter of `dnssec`; what follows from the outcome, of
`mtasts.dane`.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from postfix_mta_sts.mtasts.dane import HOSTS_MOST, DaneOutcome, Host, HostState, MxState, is_usable
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dns_message import Mx, RecordType
from postfix_mta_sts.network.dnssec import DnssecAnswer, DnssecClient

HOSTS_AT_ONCE: Final = 4
"""MX hosts of one domain that are asked about at a time."""

_NO_HOST: Final = "."  # RFC 7505

T = TypeVar("T")


class DaneClient:
    """What DANE says, by way of a resolver that validates.

    Each query has the resolver's time; who wants a deadline for all of them cancels.
    """

    def __init__(self, dns: DnssecClient) -> None:
        self._dns = dns

    async def look_up_dane(self, domain: Domain) -> DaneOutcome:
        """What the DNS says of the mail hosts of a domain; it failing is an outcome too.

        A domain whose MX RRset is not signed costs that one query: its hosts are not looked at,
        though RFC 7672 §2.2.1 would allow it, for whoever forges MX records names hosts that
        have good TLSA records.
        """
        try:
            answer = await self._dns.mx(domain)
        except DnsFailureError as error:
            return DaneOutcome(MxState.FAILED, str(error))
        step = f"MX of {domain}: {_what(answer)}"
        if not answer.secure:
            return DaneOutcome(MxState.INSECURE, step, ttl=answer.ttl)
        dane_check = _HostLookups(self._dns, answer.ttl)
        hosts = await dane_check.hosts(_names(domain, answer))
        return DaneOutcome(MxState.SECURE, step, hosts, dane_check.ttl)


class _HostLookups:
    """The questions about one domain, and the least TTL of their answers."""

    def __init__(self, dns: DnssecClient, ttl: int) -> None:
        self.ttl = ttl
        self._dns = dns
        self._turn = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def hosts(self, names: Sequence[str]) -> tuple[Host, ...]:
        """What is said of each host, in their order."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._host(name)) for name in names[:HOSTS_MOST]]
        hosts = [task.result() for task in asked]
        if more := names[HOSTS_MOST:]:
            why = f"{len(more)} more MX hosts than {HOSTS_MOST} are not asked about"
            hosts.append(Host(more[0], HostState.SKIPPED, why))
        return tuple(hosts)

    async def _host(self, name: str) -> Host:
        async with self._turn:
            try:
                return await self._judged(name)
            except DnsFailureError as error:
                return Host(name, HostState.FAILED, str(error))

    async def _judged(self, name: str) -> Host:
        addresses = await self._addresses(name)
        if not addresses.secure and not await self._is_secure_alias(name, addresses):
            return Host(name, HostState.INSECURE, f"addresses of {name}: {_what(addresses)}")
        if addresses.secure and not addresses.records:
            return Host(name, HostState.GONE, f"addresses of {name}: {_what(addresses)}")
        # §2.2.2: at the end of CNAMEs that are all proven first, then where they began.
        bases = [addresses.name, name] if addresses.secure else [name]
        return await self._with_tlsa(name, list(dict.fromkeys(bases)))

    async def _addresses(self, name: str) -> DnssecAnswer[str]:
        """Addresses of one family: what they prove of the host, those of the other would too."""
        try:
            found = await self._heard(self._dns.addresses(name, RecordType.A))
        except DnsFailureError:
            found = await self._heard(self._dns.addresses(name, RecordType.AAAA))
            if found.records:
                return found
            raise
        if found.records or not found.secure or not found.exists:
            return found
        return await self._heard(self._dns.addresses(name, RecordType.AAAA))

    async def _is_secure_alias(self, name: str, addresses: DnssecAnswer[str]) -> bool:
        """Whether it is only behind a CNAME of this name that the proof ends (§2.2.2)."""
        if addresses.name == name:
            return False
        alias = await self._heard(self._dns.alias(name))
        return alias.secure and bool(alias.records)

    async def _with_tlsa(self, name: str, bases: Sequence[str]) -> Host:
        """What the TLSA records say that are found at the first of these names that has some."""
        state, step = HostState.ABSENT, ""
        for base in bases:
            answer = await self._heard(self._dns.tlsa(f"_25._tcp.{base}"))
            step = f"TLSA of _25._tcp.{base}: {_what(answer)}"
            if answer.secure and answer.records:
                good = [is_usable(r.usage, r.selector, r.matching, r.data) for r in answer.records]
                state = HostState.USABLE if any(good) else HostState.UNUSABLE
                return Host(name, state, f"{step}, {sum(good)} usable")
            state = HostState.ABSENT if answer.secure else HostState.INSECURE
        return Host(name, state, step)

    async def _heard(self, question: Awaitable[DnssecAnswer[T]]) -> DnssecAnswer[T]:
        answer = await question
        self.ttl = min(self.ttl, answer.ttl)
        return answer


def _names(domain: Domain, answer: DnssecAnswer[Mx]) -> list[str]:
    """The mail hosts, the most preferred first; without MX records the domain itself is one."""
    if not answer.records:
        return [domain] if answer.exists else []  # RFC 5321 §5.1
    records = sorted(answer.records, key=lambda record: (record.preference, record.host))
    return [name for name in dict.fromkeys(r.host for r in records) if name != _NO_HOST]


def _what(answer: DnssecAnswer[T]) -> str:
    """An answer in words."""
    absent = "NODATA" if answer.exists else "NXDOMAIN"
    found = f"{len(answer.records)} found" if answer.records else absent
    return f"{found}, {'signed' if answer.secure else 'not signed'}"
