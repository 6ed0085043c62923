"""All servers that Postfix and the daemon talk to, in one process inside the namespace.

    python -m tests.e2e.servers FOLDER

Name servers, the Policy Host and the SMTP sinks; it writes `ca.pem` to FOLDER. It reads commands
from standard input and answers on standard output, one JSON value per line. It ends at the end of
its input. `world.py` is the other end.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.e2e.forger import Forger
from tests.e2e.sinks import Sinks
from tests.e2e.zoo.hosts import Hosts
from tests.support.dns import DnsServer, Fault, Records
from tests.support.policy_host import PolicyHost, ok, reply
from tests.support.remote import obey
from tests.support.tls import Authority

POSTFIX_DNS: Final = "127.0.0.53"
DAEMON_DNS: Final = "127.0.0.54"
"""The same zone at two addresses, so that the daemon's can be stopped while mail still flows."""
AUTHORITATIVE_DNS: Final = "127.0.0.61"
FORGED_DNS: Final = "127.0.0.62"
"""The signed zones (nsd, see `resolving.py`), and the forger in front of them."""
POLICY_HOST: Final = "127.0.0.21"


class Servers:
    """All servers; a method without an underscore is a command."""

    def __init__(self, authority: Authority) -> None:
        self._dns = DnsServer(host=DAEMON_DNS, port=53)
        self._policy_host = PolicyHost(authority, host=POLICY_HOST, port=443)
        self._postfix_dns = DnsServer(host=POSTFIX_DNS, port=53)
        self._postfix_dns.zone = self._dns.zone
        self._postfix_dns.signed = self._dns.signed
        self._postfix_dns.unsigned = self._dns.unsigned
        self._sinks = Sinks(authority)
        self._zoo = Hosts(authority)
        self._open: dict[str, contextlib.AsyncExitStack] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run all servers while the context is open."""
        async with self._postfix_dns, self._sinks.open():
            await self.start("dns")
            await self.start("policy host")
            try:
                yield
            finally:
                for stack in self._open.values():
                    await stack.aclose()

    async def start(self, server: str) -> None:
        """Start `dns` (the daemon's), `policy host` or `zoo`, unless it runs."""
        if server not in self._open:
            stack = contextlib.AsyncExitStack()
            if server == "zoo":
                await stack.enter_async_context(self._zoo.open())
            else:
                mortal = self._dns if server == "dns" else self._policy_host
                await stack.enter_async_context(mortal)
            self._open[server] = stack

    async def stop(self, server: str) -> None:
        """Stop `dns` (the daemon's) or `policy host`: close its connections and its port."""
        if stack := self._open.pop(server, None):
            await stack.aclose()

    async def records(self, zone: dict[str, list[str]], ttl: int) -> None:
        """Put records into the zone, `"name TYPE"` to data; empty data removes them."""
        for key, data in zone.items():
            self._dns.zone.pop(key, None)
            if data:
                self._dns.zone[key] = Records(data, ttl)

    async def faults(self, faults: dict[str, str]) -> None:
        """Answer queries, `"name TYPE"`, with faults from now on."""
        self._dns.zone.update({key: Fault[name] for key, name in faults.items()})

    async def sign(self, signed: Sequence[str], unsigned: Sequence[str]) -> None:
        """Set the AD bit for names at or below `signed`, unless one of `unsigned` is closer."""
        self._dns.signed.update(signed)
        self._dns.signed.difference_update(unsigned)
        self._dns.unsigned.update(unsigned)
        self._dns.unsigned.difference_update(signed)

    async def policy(self, host: str, text: str) -> None:
        """Serve a policy."""
        self._policy_host.answers[host] = ok(text.encode())

    async def answer(
        self, host: str, status: int, body: str, fields: dict[str, str], certificate: str
    ) -> None:
        """Answer with anything, and with the certificate of that kind of MX host of the zoo."""
        self._policy_host.answers[host] = reply(status, body.encode(), **fields)
        self._policy_host.credentials[host] = self._zoo.credential(certificate, host)

    async def zoo_tlsa(self, kind: str, host: str, parameters: Sequence[int]) -> str:
        """Return TLSA data of a certificate that an MX host of the zoo has for a name."""
        return self._zoo.tlsa(kind, host, *parameters)

    async def forge(self, forged: dict[str, Sequence[str]]) -> None:
        """Forge answers from now on: `"name TYPE"` to data; empty data removes the answer."""
        forger = Forger(FORGED_DNS, AUTHORITATIVE_DNS, forged)
        self._open["forger"] = contextlib.AsyncExitStack()
        await self._open["forger"].enter_async_context(forger)

    async def tlsa(self, sink: str, host: str) -> str:
        """Return the TLSA data of a sink's certificate for a name."""
        return self._sinks.tlsa(sink, host)

    async def receipts(self, suffix: str) -> list[dict[str, Any]]:
        """Return what the sinks received for recipients that end with `suffix`."""
        return [asdict(each) for each in self._sinks.receipts if each.recipient.endswith(suffix)]


async def _serve(folder: Path) -> None:
    authority = Authority()
    authority.write(folder)
    servers = Servers(authority)
    async with servers.open():
        await obey(servers)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
