"""What is outside the fleet, in one process: the name server and the Policy Host of all domains.

    python -m tests.fleet.outside FOLDER

It writes `ca.pem` to FOLDER, reads commands from standard input and answers on standard output, one
JSON value per line, until its input ends. `world.py` is the other end. Unlike the servers of
`tests/e2e` it counts, and answers for ten thousand domains as fast as for one.
"""

import asyncio
import contextlib
import re
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.dns import DnsServer, Fault, Records
from tests.support.policy_host import PolicyHost, ok, policy_text, reply
from tests.support.remote import obey
from tests.support.tls import Authority

NAME_SERVER: Final = "127.0.0.54"
POLICY_HOST: Final = "127.0.0.21"
PER_CERTIFICATE: Final = 100
"""Domains whose Policy Hosts share a certificate: issuing one takes longer than a handshake."""
TTL: Final = 3600

_NUMBERED = re.compile(r"([a-z]+)(\d+)(\..+)")


@dataclass(frozen=True, slots=True)
class Site:
    """What a domain publishes."""

    policy_id: str
    """In its TXT record; empty: it has none."""
    text: bytes
    """Of its policy; empty: its Policy Host answers 404."""


Sites = dict[str, Site]


class Names(DnsServer):
    """The name server of all sites."""

    def __init__(self, sites: Sites) -> None:
        super().__init__(host=NAME_SERVER, port=53)
        self._sites = sites
        self.is_silent = False
        """Whether no query gets an answer."""

    def _at(self, name: str, kind: str) -> Records | Fault:
        if self.is_silent:
            return Fault.SILENCE
        first, _, domain = name.partition(".")
        if first not in {"_mta-sts", "mta-sts"} or domain not in self._sites:
            return Fault.NXDOMAIN
        site = self._sites[domain]
        if first == "mta-sts":
            return Records([POLICY_HOST], TTL) if kind == "A" else Fault.NODATA
        if kind == "TXT" and site.policy_id:
            return Records([f'"v=STSv1; id={site.policy_id};"'], TTL)
        return Fault.NODATA


class Hosts(PolicyHost):
    """The Policy Host of all sites."""

    def __init__(self, authority: Authority, sites: Sites) -> None:
        super().__init__(authority, host=POLICY_HOST, port=443)
        self._sites = sites
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    def _on_server_name(
        self, session: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name is not None:
            session.context = self._context(name)

    def _context(self, name: str) -> ssl.SSLContext:
        names = alike(name)
        if names not in self._contexts:
            self._contexts[names] = self.authority.issue(*names).server_context()
        return self._contexts[names]

    async def _answer(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.requests.clear()
        await self.gate.passed()
        site = self._sites.get(name.removeprefix("mta-sts."))
        writer.write(ok(site.text) if site and site.text else reply(404))
        await writer.drain()


def alike(name: str) -> tuple[str, ...]:
    """The names that share a certificate with one: those whose numbers differ in two digits."""
    match = _NUMBERED.fullmatch(name.removeprefix("mta-sts."))
    if match is None:
        return (name,)
    label, number, rest = match[1], int(match[2]), match[3]
    first = number - number % PER_CERTIFICATE
    return tuple(f"mta-sts.{label}{n}{rest}" for n in range(first, first + PER_CERTIFICATE))


class Outside:
    """All servers; a method without an underscore is a command."""

    def __init__(self, authority: Authority) -> None:
        self._sites: Sites = {}
        self._names = Names(self._sites)
        self._hosts = Hosts(authority, self._sites)
        self._open: dict[str, contextlib.AsyncExitStack] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run all servers while the context is open."""
        await self.start("names")
        await self.start("hosts")
        try:
            yield
        finally:
            for stack in self._open.values():
                await stack.aclose()

    async def start(self, server: str) -> None:
        """Start `names` or `hosts`, unless it runs."""
        if server not in self._open:
            stack = contextlib.AsyncExitStack()
            await stack.enter_async_context(self._names if server == "names" else self._hosts)
            self._open[server] = stack

    async def stop(self, server: str) -> None:
        """Stop `names` or `hosts`: close its connections and its port."""
        if stack := self._open.pop(server, None):
            await stack.aclose()

    async def publish(
        self,
        domains: Sequence[str],
        mode: str,
        mx: Sequence[str],
        max_age: int,
        policy_id: str,
    ) -> None:
        """Publish a policy for each domain; `%` in `mx` is the domain; an empty mode: none."""
        for domain in domains:
            patterns = [each.replace("%", domain) for each in mx]
            text = policy_text(mode, patterns, max_age) if mode else b""
            self._sites[domain] = Site(policy_id, text)

    async def silence(self, *, is_on: bool) -> None:
        """Answer no query from now on, or all."""
        self._names.is_silent = is_on

    async def hold(self) -> None:
        """Hold the responses of the Policy Host; requests are still counted."""
        self._hosts.hold()

    async def release(self) -> None:
        """Send the held responses."""
        self._hosts.release()

    async def counts(self, suffix: str) -> Mapping[str, Mapping[str, int]]:
        """Return the numbers of GETs and of TXT queries of each domain that ends like this."""
        wanted = [domain for domain in self._sites if domain.endswith(suffix)]
        return {
            "gets": {domain: self._hosts.gets[f"mta-sts.{domain}"] for domain in wanted},
            "queries": {
                domain: self._names.queries[f"_mta-sts.{domain}", "TXT"] for domain in wanted
            },
        }


async def _serve(folder: Path) -> None:
    authority = Authority()
    authority.write(folder)
    outside = Outside(authority)
    async with outside.open():
        await obey(outside)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
