"""Look up the hosts that take mail for a next-hop, and all their addresses, for `query`.

It reads MX records as smtp(8) does (smtp_addr.c and dns_lookup.c in Postfix's sources), which
differs from the RFCs: a null MX beside other records counts for all of them, and an address in
place of a host name is used. The daemon does not need this; `dane` follows RFC 7672 on its own.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import DiscoveryError, printable
from postfix_mta_sts.network.dane import PENDING, HostTlsa
from postfix_mta_sts.network.dns import MAX_ADDRESSES, DnsClient
from postfix_mta_sts.network.dns_message import NXDOMAIN, DnsResponse, Mx, RecordType
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, HostDane, MailHosts, MxHost
from postfix_mta_sts.network.smtp.host_names import as_address, is_host_name
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.values import replace

MAX_HOSTS: Final = 50
"""MX hosts of one domain that are looked up; smtp(8) tries five addresses."""
HOSTS_AT_ONCE: Final = 20
"""MX hosts that are looked up in parallel, with two queries each."""

OnProgress: TypeAlias = Callable[[MailHosts], None]

_NULL: Final = "."  # RFC 7505 §3
_IS_ADDRESS: Final = "an IP address, not a host name (RFC 5321, section 5.1); Postfix uses it"

_ESCAPE: Final = re.compile(r"\\([0-9]{3})")

_Answer: TypeAlias = DnsResponse | DiscoveryError


async def look_up_mail_hosts(
    host: str,
    dns: DnsClient,
    seconds: float,
    *,
    has_mx: bool = True,
    on_progress: OnProgress | None = None,
) -> MailHosts:
    """Look up the MX records of a host, and the addresses of each MX host, within `seconds`.

    `host` is a name in A-labels or an address. Without `has_mx`, as for a next-hop in brackets, it
    is its own mail host. Failures are part of the result: hosts that are not finished in time have
    the problem FAILURE.

    `on_progress` gets the result so far: once the mail hosts are known, and again as each is
    finished. Unfinished hosts have the problem FAILURE, with the reason `PENDING`.
    """
    search = _Search(host.lower(), dns, on_progress or _ignore)
    try:
        async with asyncio.timeout(seconds):
            await search.run(has_mx=has_mx)
    except TimeoutError:
        search.give_up(f"not finished within {seconds:g} s")
    return search.result


def mail_hosts(host: str, response: DnsResponse) -> MailHosts:
    """The mail hosts of a domain by the response to its MX query, their addresses pending."""
    records = {each for each in response.records if isinstance(each, Mx)}
    if not records:
        return replace(_own_host(host), aliases=response.aliases)
    if any(each.host == _NULL for each in records):
        beside = ", beside other MX records" if len(records) > 1 else ""
        reason = f"a null MX record (RFC 7505){beside}"
        return MailHosts((), aliases=response.aliases, problem=DnsProblem.NULL_MX, reason=reason)
    ordered = sorted(records, key=lambda each: (each.preference, each.host))
    return MailHosts(_limited(ordered), aliases=response.aliases)


def with_dane(
    found: MailHosts,
    outcome: DaneOutcome | None,
    tlsa: Iterable[HostTlsa] = (),
    more: Iterable[Host] = (),
) -> MailHosts:
    """Add what the signed DNS says: the outcome of `look_up_dane`, and its records.

    `more` is what `look_up_hosts` found: without an outcome, as for a next-hop in brackets, or for
    an MX RRset that is not signed. Hosts that were not looked up keep `dane` as it is.
    """
    looked_up = {
        readable_name(each.name): each for each in (*(outcome.hosts if outcome else ()), *more)
    }
    records = {readable_name(each.host): each for each in tlsa}
    skipped = next((e for e in looked_up.values() if e.state is HostState.SKIPPED), None)

    def dane(host: MxHost) -> HostDane | None:
        here = looked_up.get(host.name, skipped)
        if here is None or as_address(host.name):
            return host.dane
        return _host_dane(here, records.get(host.name))

    hosts = tuple(replace(each, dane=dane(each)) for each in found.hosts)
    is_secure = found.mx_is_secure if outcome is None else outcome.mx is MxState.SECURE
    return replace(found, hosts=hosts, mx_is_secure=is_secure)


def readable_name(name: str) -> str:
    r"""A name of `dns_message` with printable ASCII in place of its `\\DDD`.

    A `.` or a backslash within a label remains escaped.
    """
    return _ESCAPE.sub(_unescaped, name)


def _unescaped(escape: re.Match[str]) -> str:
    char = chr(int(escape[1]))
    return char if " " <= char <= "~" and char not in ".\\" else escape[0]


def _own_host(host: str) -> MailHosts:
    """A host that takes its mail itself."""
    address = as_address(host)
    own = MxHost(host, 0, (address,)) if address else _mx_host(host, 0)
    return MailHosts((own,), implicit=True)


def _limited(records: Sequence[Mx]) -> tuple[MxHost, ...]:
    hosts = [_mx_host(readable_name(each.host), each.preference) for each in records[:MAX_HOSTS]]
    if more := records[MAX_HOSTS:]:
        reason = f"{len(more)} more MX hosts than {MAX_HOSTS} are not looked up"
        name, preference = readable_name(more[0].host), more[0].preference
        hosts.append(MxHost(name, preference, problem=DnsProblem.FAILURE, reason=reason))
    return tuple(hosts)


def _mx_host(name: str, preference: int) -> MxHost:
    if address := as_address(name):
        return MxHost(name, preference, (address,), reason=_IS_ADDRESS)
    if not is_host_name(name, wildcard=True):
        reason = "not a host name"
        return MxHost(printable(name), preference, problem=DnsProblem.INVALID, reason=reason)
    return MxHost(name, preference, problem=DnsProblem.FAILURE, reason=PENDING)


def _host_dane(host: Host, tlsa: HostTlsa | None) -> HostDane:
    if tlsa is None:
        return HostDane(host.state, host.step)
    records = (TlsaRecord(r.usage, r.selector, r.matching, r.data.hex()) for r in tlsa.records)
    return HostDane(host.state, host.step, readable_name(tlsa.base), tuple(records))


class _Search:
    """The look-up of one next-hop; `result` is what was found so far."""

    def __init__(self, host: str, dns: DnsClient, on_progress: OnProgress) -> None:
        self.result = MailHosts((), problem=DnsProblem.FAILURE, reason=PENDING)
        self._host = host
        self._dns = dns
        self._on_progress = on_progress
        self._turns = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def run(self, *, has_mx: bool) -> None:
        """Find the hosts, then their addresses."""
        is_name = is_host_name(self._host, wildcard=True)
        self._set(await self._mail_hosts() if has_mx and is_name else _own_host(self._host))
        pending = [each.name for each in self.result.hosts if _is_pending(each)]
        async with asyncio.TaskGroup() as group:
            for name in dict.fromkeys(pending):
                group.create_task(self._look_up(name))

    def give_up(self, reason: str) -> None:
        """Set the reason of what is not finished."""
        if self.result.reason == PENDING:
            self.result = replace(self.result, reason=f"MX of {self._host}: {reason}")
        hosts = [replace(h, reason=reason) if _is_pending(h) else h for h in self.result.hosts]
        self.result = replace(self.result, hosts=tuple(hosts))

    async def _mail_hosts(self) -> MailHosts:
        answer = await _ask(self._dns, self._host, RecordType.MX)
        if isinstance(answer, DnsResponse):
            return mail_hosts(self._host, answer)
        reason = f"MX of {self._host}: {answer}"
        return MailHosts((), problem=DnsProblem.FAILURE, reason=reason)

    async def _look_up(self, name: str) -> None:
        async with self._turns:
            kinds = (RecordType.A, RecordType.AAAA)
            answers = await asyncio.gather(*(_ask(self._dns, name, kind) for kind in kinds))
        hosts = [
            _with_addresses(each, dict(zip(kinds, answers, strict=True)))
            if each.name == name and _is_pending(each)
            else each
            for each in self.result.hosts
        ]
        self._set(replace(self.result, hosts=tuple(hosts)))

    def _set(self, result: MailHosts) -> None:
        self.result = result
        self._on_progress(result)


async def _ask(dns: DnsClient, name: str, kind: RecordType) -> _Answer:
    try:
        return await dns.query(name, kind)
    except DiscoveryError as error:
        return error.with_traceback(None)  # else a cycle: it refers to this frame


def _with_addresses(host: MxHost, answers: dict[RecordType, _Answer]) -> MxHost:
    """A host with the answers to the queries for its addresses, IPv4 first."""
    responses = [each for each in answers.values() if isinstance(each, DnsResponse)]
    failures = [f"{kind.name}: {e}" for kind, e in answers.items() if isinstance(e, DiscoveryError)]
    problem, reason = _problem(responses, failures)
    addresses = tuple(address for each in responses for address in _addresses(each))
    return replace(
        host,
        addresses=addresses,
        aliases=max((each.aliases for each in responses), key=len, default=()),
        problem=None if addresses else problem,
        reason=", ".join(failures) if addresses else reason,
    )


def _addresses(response: DnsResponse) -> Iterable[str]:
    return [each for each in response.records if isinstance(each, str)][:MAX_ADDRESSES]


def _problem(responses: Sequence[DnsResponse], failures: Sequence[str]) -> tuple[DnsProblem, str]:
    """Why a host has no address, if it has none; what leaves it open comes first."""
    if failures:
        return DnsProblem.FAILURE, ", ".join(dict.fromkeys(failures))
    if all(each.rcode == NXDOMAIN for each in responses):
        return DnsProblem.NO_SUCH_NAME, "NXDOMAIN"
    return DnsProblem.NO_RECORDS, "no address"


def _is_pending(host: MxHost) -> bool:
    return host.reason == PENDING


def _ignore(_: MailHosts) -> None:
    pass
