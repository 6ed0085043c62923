"""The name servers that are queried: which, and in which order.

`dns` and `dnssec` send all their queries through `Nameservers`; `dns_query` says how often each
server is asked, and `resolv_conf` reads the servers of the system.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.network.dns_exchange import Outcome
from postfix_mta_sts.network.dns_message import DnsResponse, Question
from postfix_mta_sts.network.dns_query import TRIES, Manner, Query
from postfix_mta_sts.network.resolv_conf import LOCAL, ResolvConf, ResolvConfFile

READ_AGAIN: Final = 30.0
"""Seconds after which resolv.conf is read again."""
PASSED_OVER: Final = 30.0
"""Seconds for which a silent server comes last; then one query tries whether it answers again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What resolv.conf, or the configuration, asks for."""

    servers: tuple[TcpAddress, ...]
    manner: Manner
    rotate: bool = False


class Nameservers:
    """The servers in `configured`, addresses with or without a port; if empty, the system's.

    `timeout` limits one query in seconds, including all tries and servers. `resolv_conf` names the
    system's servers and options; with configured servers it is not read. `clock` gives monotonic
    seconds. `port`, used for servers without one, is for tests.
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
        self._clock = clock
        self._port = port
        self._silent_until: dict[TcpAddress, float] = {}
        self._answered_at: dict[TcpAddress, float] = {}  # by the clock of the event loop
        self._turn = 0
        servers = tuple(server_address(text, port) for text in configured)
        self._in_use = self._seen = _Setup(servers, Manner(timeout))
        self._file = None if configured else ResolvConfFile(resolv_conf)
        self.read()

    @property
    def servers(self) -> Sequence[TcpAddress]:
        """The servers that are queried, as configured or in the order of resolv.conf."""
        return self._in_use.servers

    @property
    def seen(self) -> Sequence[TcpAddress]:
        """The servers that `adopt` would use."""
        return self._seen.servers

    def look(self) -> Sequence[TcpAddress]:
        """Read resolv.conf; return the servers that `adopt` uses for queries."""
        if self._file:
            self._seen = _setup(self._file.read(), self.timeout, self._port)
        self._read_at = self._clock()
        return self._seen.servers

    def adopt(self) -> None:
        """Query the servers that were seen last, in the manner that was seen with them."""
        self._in_use = self._seen
        for server in self._answered_at.keys() | self._silent_until.keys():
            if server not in self.servers:
                self._answered_at.pop(server, None)
                self._silent_until.pop(server, None)

    def read(self) -> None:
        """Read resolv.conf and use what it says, unless there are configured servers."""
        self.look()
        self.adopt()

    def read_if_due(self) -> None:
        """Read resolv.conf if the last time was `READ_AGAIN` seconds ago; log other servers."""
        if self._file and self._clock() >= self._read_at + READ_AGAIN:
            before = self.servers
            self.read()
            if self.servers != before:
                named = ", ".join(map(str, self.servers))
                event(_log, logging.INFO, "name servers changed", servers=named)

    def query(
        self, question: Question, servers: Sequence[TcpAddress] | None = None
    ) -> asyncio.Future[Outcome]:
        """Ask these of the servers seen last, else all in use; cancel the future to give it up."""
        if servers is None:
            return Query(question, self._in_order(), self._in_use.manner, self).outcome
        return Query(question, servers, self._seen.manner, self).outcome

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
        """Pass a server over if it has answered no query since the try began; see `Observer`."""
        if self._answered_at.get(server, -1.0) < began:
            self._silent_until[server] = self._clock() + PASSED_OVER

    def on_response(self, server: TcpAddress) -> None:
        """See `Observer`."""
        self._answered_at[server] = asyncio.get_running_loop().time()
        self._silent_until.pop(server, None)

    def _in_order(self) -> Sequence[TcpAddress]:
        """The servers as configured, or in turn; but silent ones last."""
        servers = self._in_use.servers
        if self._in_use.rotate:
            self._turn = (self._turn + 1) % len(servers)
            servers = servers[self._turn :] + servers[: self._turn]
        if not self._silent_until:
            return servers
        now = self._clock()
        for server in servers:
            if self._silent_until.get(server, now + 1) <= now:
                self._silent_until[server] = now + PASSED_OVER  # others do not wait for this try
                return [server, *(each for each in servers if each != server)]
        return sorted(servers, key=self._silent_until.__contains__)


def server_address(text: str, port: int) -> TcpAddress:
    """Parse the address of a name server as it is configured; `port`: if it names none."""
    try:
        return TcpAddress(str(ipaddress.ip_address(text)), port)
    except ValueError:
        host, _, own_port = text.rpartition(":")
        return TcpAddress(host.strip("[]"), int(own_port))


def _setup(conf: ResolvConf, timeout: float, port: int) -> _Setup:
    servers = tuple(TcpAddress(host, port) for host in conf.servers or [LOCAL])
    patience = conf.timeout and min(conf.timeout, longest_patience(timeout, len(servers)))
    manner = Manner(timeout, conf.attempts or TRIES, patience, conf.use_tcp)
    return _Setup(servers, manner, conf.rotate)


def longest_patience(timeout: float, servers: int) -> float:
    """The seconds until the second try with which the last server still has a quarter of the time.

    It has half of the time if it is the second. The pause before each try is twice the last one.
    """
    return timeout / float(2 ** max(1, servers - 1))
