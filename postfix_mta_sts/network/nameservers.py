"""The name servers that are queried: which, in which order, and how often each.

`dns` and `dnssec` send all their queries through `Nameservers.ask`.
"""

import asyncio
import ipaddress
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dns_exchange import exchange
from postfix_mta_sts.network.dns_message import FORMERR, NOERROR, NXDOMAIN, DnsResponse, Question

TRIES: Final = 2
"""Tries of one query at each server, whatever it answers, or does not."""
FIRST_TRY: Final = 0.2
"""The share of the timeout after which the second try begins; the time to each further try is twice
as long. All tries go on until the timeout."""
READ_AGAIN: Final = 30.0
"""Seconds after which resolv.conf is read again."""
PASSED_OVER: Final = 30.0
"""Seconds for which a silent server comes last; then one query tries whether it answers again."""

_RCODES: Final = {FORMERR: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
_MAX_SYSTEM_SERVERS: Final = 3  # resolv.conf(5)


_Try: TypeAlias = asyncio.Task[DnsResponse | DiscoveryError]


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
        self._answered_at: dict[TcpAddress, float] = {}
        self.read()

    def read(self) -> None:
        """Read resolv.conf, unless there are configured servers."""
        self.servers = self._configured or _system_servers(self._resolv_conf, self._port)
        self._read_at = self._clock()

    def read_if_due(self) -> None:
        """Read resolv.conf if the last time was `READ_AGAIN` seconds ago."""
        if not self._configured and self._clock() >= self._read_at + READ_AGAIN:
            self.read()

    async def ask(
        self, question: Question, servers: Sequence[TcpAddress] | None = None
    ) -> DnsResponse:
        """Try the servers in turn until one answers: `TRIES` at each, in `timeout` in all.

        A try without an answer goes on beside the next one: a busy server, or a busy machine, may
        answer late. Raises `DnsFailureError`; `OwnFaultError` if this process can open no socket.
        """
        order = self._in_order() if servers is None else servers
        tries: set[_Try] = set()
        try:
            async with asyncio.timeout(self.timeout):
                return await self._first_answer(question, deque([*order] * TRIES), tries)
        except TimeoutError:
            raise DnsFailureError(f"no answer within {self.timeout:g} s") from None
        finally:
            for each in tries:
                each.cancel()

    async def _first_answer(
        self, question: Question, left: deque[TcpAddress], tries: set[_Try]
    ) -> DnsResponse:
        """Begin the next try when one has failed, or is silent for too long."""
        wait = self.timeout * FIRST_TRY
        error: DiscoveryError = DnsFailureError("no name server")
        edns = True
        while left or tries:
            began, server = self._clock(), left.popleft() if left else None
            if server:
                tries.add(asyncio.create_task(self._try(question, server, edns=edns)))
            outcome = await _first(tries, wait if left else None)
            if isinstance(outcome, DiscoveryError):
                error = outcome
            elif outcome is None:
                wait *= 2
                self._note_silence(server, began)
            elif outcome.rcode in {NOERROR, NXDOMAIN}:
                return outcome
            else:
                error = DnsFailureError(f"{_rcode(outcome)} from the name server")
                edns = edns and outcome.rcode != FORMERR  # RFC 6891 §7
        raise error

    async def _try(
        self, question: Question, server: TcpAddress, *, edns: bool
    ) -> DnsResponse | DiscoveryError:
        try:
            response = await exchange(question, server, edns=edns)
        except (DnsFailureError, OwnFaultError) as error:
            return error
        self._note_answer(server)
        return response

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

    def _note_silence(self, server: TcpAddress | None, began: float) -> None:
        """Pass a server over if nobody had an answer of it since the try began."""
        if server and self._answered_at.get(server, -1.0) < began:
            self._silent_until[server] = self._clock() + PASSED_OVER

    def _note_answer(self, server: TcpAddress) -> None:
        self._answered_at[server] = self._clock()
        self._silent_until.pop(server, None)


async def _first(tries: set[_Try], wait: float | None) -> DnsResponse | DiscoveryError | None:
    """Remove the first try that ends, and return its outcome; None if none ends in time."""
    done, _ = await asyncio.wait(tries, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        return None
    ended = done.pop()
    tries.discard(ended)
    return ended.result()


def _rcode(response: DnsResponse) -> str:
    return _RCODES.get(response.rcode, f"rcode {response.rcode}")


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
