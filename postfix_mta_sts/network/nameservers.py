"""The name servers that are queried: which, and in which order.

`dns` and `dnssec` send all their queries through `Nameservers`; `dns_query` says how often each
server is asked.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.network.dns_exchange import Outcome
from postfix_mta_sts.network.dns_message import DnsResponse, Question
from postfix_mta_sts.network.dns_query import Query

READ_AGAIN: Final = 30.0
"""Seconds after which resolv.conf is read again."""
PASSED_OVER: Final = 30.0
"""Seconds for which a silent server comes last; then one query tries whether it answers again."""

_MAX_SYSTEM_SERVERS: Final = 3  # resolv.conf(5)


class Nameservers:
    """The servers in `configured`, addresses with or without a port; if empty, the system's.

    `timeout` limits one query in seconds, including all tries and servers. `resolv_conf` names the
    system's servers. `clock` gives monotonic seconds. `port`, used for servers without one, is for
    tests.
    """

    def __init__(
        self,
        configured: Sequence[str],
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        port: int = 53,
    ) -> None:
        self.timeout = timeout
        self._configured = tuple(_address(text, port) for text in configured)
        self._clock = clock
        self._resolv_conf = resolv_conf
        self._port = port
        self._silent_until: dict[TcpAddress, float] = {}
        self._answered_at: dict[TcpAddress, float] = {}  # by the clock of the event loop
        self.read()

    def read(self) -> None:
        """Read resolv.conf, unless there are configured servers."""
        self.servers = self._configured or _system_servers(self._resolv_conf, self._port)
        self._read_at = self._clock()

    def read_if_due(self) -> None:
        """Read resolv.conf if the last time was `READ_AGAIN` seconds ago."""
        if not self._configured and self._clock() >= self._read_at + READ_AGAIN:
            self.read()

    def query(
        self, question: Question, servers: Sequence[TcpAddress] | None = None
    ) -> asyncio.Future[Outcome]:
        """Ask these servers, else all; cancel the future to give the query up."""
        order = self._in_order() if servers is None else servers
        return Query(question, order, self.timeout, self).outcome

    async def ask(
        self, question: Question, servers: Sequence[TcpAddress] | None = None
    ) -> DnsResponse:
        """Return the response to `query`; raises `DnsFailureError` or `OwnFaultError`."""
        outcome = await self.query(question, servers)
        if isinstance(outcome, DnsResponse):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # else a cycle: its traceback refers to this frame

    def on_silence(self, server: TcpAddress, began: float) -> None:
        """Pass a server over if it has answered nobody since the try began; see `Observer`."""
        if self._answered_at.get(server, -1.0) < began:
            self._silent_until[server] = self._clock() + PASSED_OVER

    def on_response(self, server: TcpAddress) -> None:
        """See `Observer`."""
        self._answered_at[server] = asyncio.get_running_loop().time()
        self._silent_until.pop(server, None)

    def _in_order(self) -> Sequence[TcpAddress]:
        """The servers as configured, but silent ones last."""
        if not self._silent_until:
            return self.servers
        now = self._clock()
        for server in self.servers:
            if self._silent_until.get(server, now + 1) <= now:
                self._silent_until[server] = now + PASSED_OVER  # others do not wait for this try
                return [server, *(each for each in self.servers if each != server)]
        return sorted(self.servers, key=self._silent_until.__contains__)


def _address(text: str, port: int) -> TcpAddress:
    """Parse the address of a name server, as written in the configuration."""
    try:
        return TcpAddress(str(ipaddress.ip_address(text)), port)
    except ValueError:
        host, _, own_port = text.rpartition(":")
        return TcpAddress(host.strip("[]"), int(own_port))


def _system_servers(resolv_conf: Path, port: int) -> tuple[TcpAddress, ...]:
    """The servers that resolv.conf(5) names; loopback if it names none."""
    try:
        lines = resolv_conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    fields = [line.split() for line in lines]
    named = [f[1] for f in fields if len(f) > 1 and f[0] == "nameserver" and _is_address(f[1])]
    return tuple(TcpAddress(host, port) for host in named[:_MAX_SYSTEM_SERVERS] or ["127.0.0.1"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
