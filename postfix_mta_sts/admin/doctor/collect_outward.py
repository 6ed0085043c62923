"""Whether this machine reaches the Internet as the daemon and Postfix must: `--outward DOMAIN`.

It fetches the policy of the domain, and talks to its MX hosts up to EHLO. It sends no mail, and
stores nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final

from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.admin.doctor.snapshot import Outward
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    FetchError,
    MtaStsError,
    UnreachableError,
    printable,
)
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.mail_hosts import look_up_mail_hosts
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import SMTP_PORT, Phase, ProbeResult, ProbeTarget
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.values import replace as replace_value

ADDRESSES_LIMIT: Final = 5
"""Addresses of MX hosts that are tried, as smtp(8) does (smtp_mx_address_limit)."""
_RESERVE: Final = 0.2
"""Seconds that are left for the answer when the time of a question ends."""
_SHARE_OF_DNS: Final = 0.5
"""The part of the time that the addresses of MX hosts may take."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of other machines; others than these are for tests."""

    https: int = 443
    smtp: int = SMTP_PORT


HERE: Final = Ports()


class OutwardLook:
    """Looks outward once; call `run`. `clock` gives epoch seconds."""

    def __init__(
        self,
        sight: Sight,
        domain: Domain,
        settings: Settings,
        ports: Ports,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sight = sight
        self._domain = domain
        self._settings = settings
        self._ports = ports
        self._clock = clock

    async def run(self, ehlo: Callable[[], Awaitable[str]]) -> Outward:
        """Ask the Policy Host and the MX hosts at once; what fails is in the result, or unseen.

        `ehlo` gives the name of this client. Raises `OSError` for a CA file that cannot be used.
        """
        seconds = max(0.1, self._sight.seconds_left - _RESERVE)
        async with open_clients(self._network(seconds)) as (dns, fetcher):
            https, smtp = await asyncio.gather(self._https(fetcher), self._smtp(dns, ehlo, seconds))
        return replace(Outward(self._domain), **https, **smtp)

    def _network(self, seconds: float) -> NetworkSettings:
        """The settings of the daemon, with less time."""
        found = NetworkSettings.of(self._settings, self._ports.https)
        return replace_value(
            found,
            https_timeout=min(found.https_timeout, seconds),
            dns_timeout=min(found.dns_timeout, seconds * _SHARE_OF_DNS),
        )

    async def _https(self, fetcher: PolicyFetcher) -> dict[str, Any]:
        trace, found = FetchTrace(), dict[str, Any]()
        try:
            body = await fetcher.fetch_body(self._domain, trace)
            found["has_enforced_policy"] = _is_enforced(body)
        except MtaStsError as error:
            if trace.address is None:
                self._sight.miss(f"port 443 of mta-sts.{self._domain}", str(error))
            elif trace.tls_version is None and isinstance(error, UnreachableError | DeadlineError):
                found["https_problem"] = str(error)
        return found | self._offset(trace)

    def _offset(self, trace: FetchTrace) -> dict[str, Any]:
        """How far the clock of this machine is ahead of the Policy Host's (RFC 9110 §6.6.1)."""
        with suppress(ValueError, OverflowError):
            if trace.date is not None:
                theirs = parsedate_to_datetime(trace.date).timestamp()
                return {"clock_offset": self._clock() - theirs}
        return {}

    async def _smtp(
        self, dns: DnsClient, ehlo: Callable[[], Awaitable[str]], seconds: float
    ) -> dict[str, Any]:
        what = f"port {self._ports.smtp} of the MX hosts of {self._domain}"
        monotonic = asyncio.get_running_loop().time
        end = monotonic() + seconds
        hosts = await look_up_mail_hosts(self._domain, dns, seconds * _SHARE_OF_DNS)
        targets = _targets(hosts, self._ports.smtp)
        if not targets:
            self._sight.miss(what, _no_target(hosts))
            return {}
        try:
            results = await _probe(targets, await ehlo(), end - monotonic())
        except (ImportError, UserError) as error:
            self._sight.miss(what, str(error))
            return {}
        return {"smtp_problem": _smtp_problem(results), "has_starttls": _has_starttls(results)}


async def _probe(
    targets: Sequence[ProbeTarget], ehlo: str, seconds: float
) -> Sequence[ProbeResult]:
    """Talk to the addresses; raises `ImportError` on a machine that lacks the libraries."""
    from postfix_mta_sts.network.smtp.probe import probe_all  # noqa: PLC0415 (see pyproject.toml)
    from postfix_mta_sts.network.smtp.tls import Trust  # noqa: PLC0415 (the same)

    trust = Trust("", "", append_default_ca=False)  # there is no handshake
    return await probe_all(targets, trust, ehlo=ehlo, deadline=seconds)


def _targets(hosts: MailHosts, port: int) -> list[ProbeTarget]:
    every = [
        ProbeTarget(host.name, address, port, starttls=False)
        for host in hosts.hosts
        for address in host.addresses
    ]
    return every[:ADDRESSES_LIMIT]


def _no_target(hosts: MailHosts) -> str:
    reasons = [hosts.reason, *(each.reason for each in hosts.hosts)]
    return next(filter(None, reasons), "no MX host has an address")


def _smtp_problem(results: Sequence[ProbeResult]) -> str:
    """Why no address accepts a connection; empty: one does."""
    problems = [
        f"{each.target.address}: {each.failure.reason}"
        for each in results
        if each.failure and each.failure.phase is Phase.CONNECT
    ]
    return printable("; ".join(problems), 500) if len(problems) == len(results) else ""


def _has_starttls(results: Sequence[ProbeResult]) -> bool | None:
    """Whether one of them offers it; None: no conversation came so far."""
    offers = [each.offers_starttls for each in results if each.offers_starttls is not None]
    return any(offers) if offers else None


def _is_enforced(body: bytes) -> bool:
    """Whether the file is a policy in mode enforce."""
    with suppress(FetchError):
        return parse_policy(body).mode is Mode.ENFORCE
    return False
